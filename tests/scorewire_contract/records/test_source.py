from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import pytest

from scorewire_contract.records.blocks import FORMAT, BlockError
from scorewire_contract.records.source import Source, Start
from tests.records.vectors.segments import CHURN, SHADOW, WIDE

START = Start(
    start=UUID("019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000"),
    segment=3,
    created="2026-11-29T17:21:00.000000Z",
    server="0.1.0",
    engine="reference",
    writers=2,
)


@pytest.mark.parametrize("source", [CHURN, SHADOW, WIDE])
def test_a_source_is_read_as_it_was_written(source: Source) -> None:
    body = source.encode()
    assert len(body) % 8 == 0
    assert Source.decode(body) == source


def test_a_source_of_the_first_format_has_no_principals() -> None:
    described = json.loads(CHURN.encode())
    assert described.pop("principal") == "keep"
    assert Source.decode(json.dumps(described).encode()) == replace(CHURN, principal="drop")


def test_a_start_is_read_as_it_was_written() -> None:
    body = START.encode()
    assert len(body) % 8 == 0
    assert json.loads(body)["format"] == FORMAT
    assert Start.decode(body) == START


@pytest.mark.parametrize(
    "change",
    [
        {"features": "age"},
        {"numbers": [1]},
        {"outputs": [{"name": "p"}]},
        {"share": None},
        {"model": ...},
        {"outputs": [1]},
        {"outputs": [{"name": "p", "width": 0, "kind": "number"}]},
        {"outputs": [{"name": "p", "width": -1, "kind": "text"}]},
        {"source": float("inf")},
        {"share": 10**400},
        {"share": float("nan")},
        {"share": 1.1},
        {"score_output": 99},
        {"fingerprint": "no digits"},
        {"fingerprint": "-f0c"},
    ],
)
def test_a_description_with_other_values_is_refused(change: dict[str, object]) -> None:
    value = json.loads(CHURN.encode()) | change
    body = json.dumps({key: each for key, each in value.items() if each is not ...}).encode()
    with pytest.raises(BlockError, match="no description of a source"):
        Source.decode(body)


@pytest.mark.parametrize("change", [{"start": 1}, {"start": []}, {"start": "1"}, {"writers": float("inf")}])
def test_a_start_with_other_values_is_refused(change: dict[str, object]) -> None:
    body = json.dumps(json.loads(START.encode()) | change).encode()
    with pytest.raises(BlockError, match="no description of a start"):
        Start.decode(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"{}", b"[" * 200_000])
def test_bytes_that_are_no_description_are_refused(body: bytes) -> None:
    with pytest.raises(BlockError):
        Source.decode(body)
    with pytest.raises(BlockError):
        Start.decode(body)
