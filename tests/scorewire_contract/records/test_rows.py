from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scorewire_contract.records.blocks import Block, BlockError, Kind
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Output, Source
from scorewire_contract.records.texts import Texts
from tests.records.vectors.files import FOLDER, FORMAT_1
from tests.records.vectors.segments import CHURN, SHADOW, WIDE, whole_segment

BODIES = {
    each.header.source: each.body
    for each in read_segment(whole_segment())
    if isinstance(each, Block) and each.header.kind == Kind.ROWS
}


@pytest.mark.parametrize("source", [CHURN, SHADOW, WIDE])
def test_rows_are_written_as_they_were_read(source: Source) -> None:
    body = BODIES[source.source]
    assert RowsBlock.decode(body, source).encode() == body


def with_principals(*principals: str) -> bytes:
    """The body of a block of `CHURN` with three predictions and these principals."""
    return replace(RowsBlock.decode(BODIES[CHURN.source], CHURN), principals=Texts.of(principals)).encode()


@pytest.mark.parametrize("principals", [("", "", ""), ("a", "a", "a"), ("a", "", "a"), ("a", "b", "ż")])
def test_each_prediction_has_its_principal(principals: tuple[str, str, str]) -> None:
    assert tuple(RowsBlock.decode(with_principals(*principals), CHURN).principals) == principals


def test_a_principal_is_there_once() -> None:
    name = "a-long-name"
    body = with_principals(name, "b", name)
    assert body.count(name.encode()) == 1
    # Only one principal takes nothing for a prediction, and so does none.
    assert len(with_principals("a", "a", "a")) == len(with_principals("b", "b", "b")) < len(body)
    assert len(with_principals("", "", "")) == len(with_principals("a", "a", "a")) - 8


def test_rows_of_the_first_format_have_no_principals() -> None:
    blocks = [each for each in read_segment(FOLDER / f"{FORMAT_1}.segment") if isinstance(each, Block)]
    old = next(each for each in blocks if each.header.source == CHURN.source)
    rows = RowsBlock.decode(old.body, CHURN, old.header.format)
    now = RowsBlock.decode(BODIES[CHURN.source], CHURN)
    assert list(rows.principals) == [""] * 3
    assert (list(rows.callers), rows.outputs[0].tobytes()) == (list(now.callers), now.outputs[0].tobytes())
    with pytest.raises(BlockError, match="sections"):
        RowsBlock.decode(old.body, CHURN)


@pytest.mark.parametrize("places", [[0, 1], [0, 1, 2, 0], [0, 2, 1]])
def test_places_of_principals_that_are_not_there_are_refused(places: list[int]) -> None:
    body = with_principals("a", "b", "a")
    right, wrong = np.array([0, 1, 0], "<u2").tobytes(), np.array(places, "<u2").tobytes()
    at = body.rindex(right + bytes(2))
    table = bytearray(body)
    table[8 + 8 * 17 : 16 + 8 * 17] = len(wrong).to_bytes(8, "little")
    table[at : at + 8] = wrong.ljust(8, b"\0")
    with pytest.raises(BlockError):
        RowsBlock.decode(bytes(table), CHURN)


def test_columns_refer_to_the_body() -> None:
    body = BODIES[CHURN.source]
    rows = RowsBlock.decode(body, CHURN)
    whole = np.frombuffer(body, np.uint8)
    arrays = [rows.sequences, rows.numbers, rows.texts.data, rows.outputs[0]]
    assert all(isinstance(each, np.ndarray) and np.shares_memory(each, whole) for each in arrays)


def test_every_row_knows_its_prediction_and_its_index_in_it() -> None:
    rows = RowsBlock.decode(BODIES[CHURN.source], CHURN)
    assert (len(rows), rows.row_count) == (3, 4)
    assert rows.prediction_of_row.tolist() == [0, 1, 1, 1]
    assert rows.index_of_row.tolist() == [0, 4096, 4097, 4098]


@pytest.mark.parametrize("length", range(0, len(BODIES[CHURN.source]), 8))
def test_a_body_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(BlockError):
        RowsBlock.decode(BODIES[CHURN.source][:length], CHURN)


def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(BlockError):
        RowsBlock.decode(BODIES[CHURN.source] + bytes(8), CHURN)


@pytest.mark.parametrize(
    "source",
    [
        WIDE,
        replace(CHURN, kind="shadow"),
        replace(CHURN, numbers=()),
        replace(CHURN, texts=("country",)),
        replace(CHURN, features=("age", "country", "email")),
        replace(CHURN, outputs=(Output(name="probability", width=1, kind="number"),)),
        replace(CHURN, outputs=(Output(name="probability", width=2, kind="text"),)),
    ],
)
def test_rows_of_another_source_are_refused(source: Source) -> None:
    with pytest.raises(BlockError):
        RowsBlock.decode(BODIES[CHURN.source], source)


@pytest.mark.parametrize("rows", [[1, 4], [1, 1], [3, 1]])
def test_errors_of_rows_that_do_not_ascend_or_exist_are_refused(rows: list[int]) -> None:
    wrong = replace(RowsBlock.decode(BODIES[CHURN.source], CHURN), error_rows=np.array(rows, "<u4"))
    with pytest.raises(BlockError, match="errors name"):
        RowsBlock.decode(wrong.encode(), CHURN)
