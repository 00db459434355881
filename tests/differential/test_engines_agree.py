"""The native engine answers what the reference engine answers, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.engines import NATIVE_MISSING
from tests.differential.comparison import both_engines, compare

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)


@pytest.mark.parametrize("seed", [1])
def test_generated_requests_are_answered_alike(tmp_path: Path, seed: int) -> None:
    with both_engines(tmp_path) as (reference, native):
        outcomes = compare(reference, native, count=1000, seed=seed)
    assert outcomes.total() == 1000
    wanted = {"OK", "MALFORMED_MESSAGE", "INVALID_REQUEST", "TOO_MANY_ROWS", "MODEL_NOT_FOUND"}
    assert wanted | {"VERSION_NOT_FOUND", "VERSION_UNAVAILABLE", "SCHEMA_MISMATCH"} <= set(outcomes)
