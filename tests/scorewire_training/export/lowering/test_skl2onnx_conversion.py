from __future__ import annotations

import pytest
from sklearn.svm import SVC

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import build_frame, classes


def test_model_that_skl2onnx_cannot_convert_is_refused() -> None:
    frame = build_frame()[["amount", "ratio"]]
    model = SVC(kernel=lambda a, b: a @ b.T).fit(frame, classes(build_frame()))
    with pytest.raises(UnsupportedModelError, match="skl2onnx does not convert this SVC"):
        lower(model, frame)
