"""How steps that compute each column from one other column are declared."""

from __future__ import annotations

import pytest

from scorewire_training.export.lowering.columnwise import Columnwise
from scorewire_training.export.lowering.registry import lowers_step


def test_a_columnwise_step_is_declared_by_its_class() -> None:
    # By its name its origin would never be found, and trees behind it would be translated inexactly.
    with pytest.raises(TypeError, match=r"library\.Step computes its columns one by one"):
        lowers_step("library.Step", columnwise=Columnwise(fitted=()))
