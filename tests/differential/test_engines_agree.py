"""The native engine gives the same responses as the reference engine, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.engines import NATIVE_MISSING
from tests.differential.comparison import SAME_KERNEL, both_engines, compare, split
from tests.differential.encodings import compare_encodings
from tests.differential.tensors import compare_tensors
from tests.differential.typed import compare_typed

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)


@pytest.mark.parametrize("kernel", sorted({SAME_KERNEL, "onnxruntime"}))
def test_generated_requests_are_answered_alike(tmp_path: Path, kernel: str) -> None:
    with both_engines(tmp_path, kernel) as (reference, native):
        outcomes = compare(reference, native, count=1000, seed=1)
    assert outcomes.total() == 1000
    wanted = {"OK", "MALFORMED_MESSAGE", "INVALID_REQUEST", "TOO_MANY_ROWS", "MODEL_NOT_FOUND"}
    assert wanted | {"VERSION_NOT_FOUND", "VERSION_UNAVAILABLE", "SCHEMA_MISMATCH"} <= set(outcomes)


def test_a_split_sends_each_key_to_the_same_version(tmp_path: Path) -> None:
    with both_engines(tmp_path) as (reference, native):
        for wire in (reference, native):
            split(wire, "sum", {"1.0.0": 30, "1.1.0": 70})
        outcomes = compare(reference, native, count=1000, seed=2, keyed=True)
    assert outcomes["OK"] > 100


def test_typed_calls_are_answered_alike(tmp_path: Path) -> None:
    with both_engines(tmp_path) as (reference, native):
        outcomes = compare_typed(reference, native, count=600, seed=3)
        for wire in (reference, native):
            split(wire, "sum", {"1.0.0": 30, "1.1.0": 70})
        outcomes += compare_typed(reference, native, count=200, seed=4)
    assert {"OK", "MALFORMED_MESSAGE", "INVALID_REQUEST", "TOO_MANY_ROWS", "VERSION_NOT_FOUND"} <= set(
        outcomes
    )


def test_tensors_are_answered_alike(tmp_path: Path) -> None:
    with both_engines(tmp_path) as (reference, native):
        for wire in (reference, native):
            split(wire, "sum", {"1.0.0": 30, "1.1.0": 70})
        outcomes = compare_tensors(reference, native, count=1000, seed=5)
    assert {"OK", "MALFORMED_MESSAGE", "INVALID_REQUEST", "TOO_MANY_ROWS", "VERSION_NOT_FOUND"} <= set(
        outcomes
    )


def test_one_row_has_the_same_bits_in_every_encoding(tmp_path: Path) -> None:
    with both_engines(tmp_path) as (reference, native):
        outcomes = compare_encodings(reference, native, count=300, seed=6)
    wanted = {"OK", "MISSING_VALUE", "NUMBER_OUT_OF_RANGE", "NUMBER_NOT_WHOLE", "UNKNOWN_TEXT"}
    assert wanted <= set(outcomes)
