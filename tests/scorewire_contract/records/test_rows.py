from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scorewire_contract.records.blocks import Block, BlockError, Kind
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import read_segment
from scorewire_contract.records.source import Output, Source
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
