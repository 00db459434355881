from __future__ import annotations

import json
from uuid import UUID

import pytest

from scorewire_contract.records.blocks import BlockError
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


def test_a_start_is_read_as_it_was_written() -> None:
    body = START.encode()
    assert len(body) % 8 == 0
    assert json.loads(body)["format"] == 1
    assert Start.decode(body) == START


@pytest.mark.parametrize(
    "change",
    [
        {"features": "age"},
        {"numbers": [1]},
        {"outputs": [{"name": "p"}]},
        {"share": None},
        {"model": ...},
    ],
)
def test_a_description_that_is_not_complete_is_refused(change: dict[str, object]) -> None:
    value = json.loads(CHURN.encode()) | change
    body = json.dumps({key: each for key, each in value.items() if each is not ...}).encode()
    with pytest.raises(BlockError, match="no description of a source"):
        Source.decode(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"{}"])
def test_bytes_that_are_no_description_are_refused(body: bytes) -> None:
    with pytest.raises(BlockError):
        Source.decode(body)
    with pytest.raises(BlockError):
        Start.decode(body)
