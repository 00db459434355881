"""Whatever a manifest says, its bundle serves or is refused with a reason, and other bundles serve on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.engines import ENGINES
from tests.operations.hostility import load_hostile


@pytest.mark.parametrize("engine", ENGINES)
async def test_hostile_bundles_are_refused_with_a_reason_or_can_be_published(
    tmp_path: Path, engine: str
) -> None:
    # `python -m tests.operations --scenario hostile` loads all of them.
    refused, served = await load_hostile(tmp_path, engine, every=7)
    assert refused > 200
    assert served > 30
