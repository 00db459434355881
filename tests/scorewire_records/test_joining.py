"""Blocks that are joined have the rows of all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scorewire_contract.records.identity import new_start
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.source import Output, Source
from scorewire_records.joining import joined
from scorewire_records.tables import to_table
from tests.scorewire_records.spools import rows_of, source

START = new_start()
TEXT = Output(name="label", width=2, kind="text")


def failing(rows: RowsBlock, *failed: int) -> RowsBlock:
    return replace(
        rows,
        error_rows=np.array(failed, np.uint32),
        error_reasons=np.full(len(failed), 100, np.uint16),
        error_features=np.full(len(failed), 1, np.uint16),
    )


@pytest.mark.parametrize(
    "where",
    [source(), source(kind="shadow"), source(outputs=(TEXT,)), source(features=(), numbers=(), texts=())],
)
def test_the_table_of_joined_blocks_is_the_tables_of_the_blocks(where: Source) -> None:
    blocks = [rows_of(where, 0, 3, per_call=2), rows_of(where, 3, 0), rows_of(where, 3, 4)]
    if where.features:
        blocks = [failing(blocks[0], 1, 4), blocks[1], failing(blocks[2], 0)]
    decoded = [RowsBlock.decode(each.encode(), where) for each in blocks]
    table = to_table(START, where, joined(decoded))
    assert len(table) == 10
    assert table.equals(pa.concat_tables(to_table(START, where, each) for each in blocks))
