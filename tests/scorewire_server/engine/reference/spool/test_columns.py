from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scorewire_contract.coding import RowError
from scorewire_contract.records.hashing import hash_number, hash_text
from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.rows import KEPT, NO_WRITER, RowsBlock
from scorewire_contract.records.source import Output
from scorewire_contract.records.texts import Texts
from scorewire_contract.scoring import Scores
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.interpreted.recording import Record
from scorewire_server.engine.recording import RecordedSource
from scorewire_server.engine.reference.spool.columns import Part, SourceColumns, parts_of
from tests.scorewire_server.engine.recorded import START, SUM, record_of, source_of

KEY = bytes(range(32))
MISSING = errors_pb2.ERROR_REASON_MISSING_VALUE


def block_of(source: RecordedSource, *parts: Part, since_1970_us: int = 0) -> RowsBlock:
    """The block with these parts, as readers find it."""
    columns = SourceColumns(source)
    return RowsBlock.decode(columns.block(parts, since_1970_us).encode(), columns.description)


def whole(record: Record, writer: int = 0, sequence: int = 0) -> Part:
    return Part(writer, sequence, record, 0, record.row_count, record.memory_bytes)


def test_a_block_has_what_its_records_have() -> None:
    error = RowError(1, MISSING, "country", "country is missing")
    first = record_of(rows=2, errors=[error], principal="shop", routing_key="k", flags=KEPT)
    block = block_of(
        source_of(),
        whole(first, sequence=7),
        whole(record_of(), writer=1, sequence=9),
        since_1970_us=1_000_000,
    )
    assert block.sequences.tolist() == [7, 9]
    assert block.times_us.tolist() == [1_007_000, 1_007_000]
    assert (block.server_us.tolist(), block.model_us.tolist()) == ([20, 20], [10, 10])
    assert (block.first_rows.tolist(), block.row_counts.tolist()) == ([0, 0], [2, 1])
    assert (block.writers.tolist(), block.flags.tolist()) == ([0, 1], [KEPT, 0])
    assert (list(block.callers), list(block.routing_keys)) == (["10.0.0.1"] * 2, ["k", ""])
    assert list(block.principals) == ["shop", ""]
    assert block.numbers.tolist() == [[0, 1], [2, 3], [0, 1]]
    assert list(block.texts) == ["t0", "t1", "t0"]
    errors = block.error_rows, block.error_reasons, block.error_features
    assert [each.tolist() for each in errors] == [[1], [MISSING], [2]]
    (values,) = block.outputs
    assert isinstance(values, np.ndarray)
    assert values.tolist() == [[0], [10], [0]]
    assert len(block.original_sequences) == len(block.original_writers) == 0


def test_features_are_kept_dropped_or_hashed_before_anything_is_written() -> None:
    description = replace(
        SUM,
        numbers=("x1",),
        texts=("x0", "country"),
        hashed=("x0", "country"),
        caller="hash",
        principal="hash",
        routing_key="drop",
    )
    source = source_of(
        description,
        numbers=("hash", "keep"),
        texts=("hash",),
        caller="hash",
        principal="hash",
        routing_key="drop",
        hash_key=KEY,
    )
    numbers = np.array([1.5, 2.0, np.nan, 3.0])
    record = record_of(rows=2, texts=["PL", ""], numbers=numbers, principal="shop", routing_key="k")
    block = block_of(source, whole(record))
    assert block.numbers.tolist() == [[2.0], [3.0]]
    assert list(block.texts) == [hash_number(1.5, KEY), hash_text("PL", KEY), "", ""]
    assert list(block.callers) == [hash_text("10.0.0.1", KEY)]
    assert list(block.principals) == [hash_text("shop", KEY)]
    assert list(block.routing_keys) == [""]
    dropping = source_of(replace(SUM, principal="drop"), principal="drop")
    assert list(block_of(dropping, whole(record)).principals) == [""]


def test_a_source_may_drop_every_feature() -> None:
    description = replace(SUM, numbers=(), texts=(), dropped=SUM.features)
    block = block_of(
        source_of(description, numbers=("drop", "drop"), texts=("drop",)), whole(record_of(rows=3))
    )
    assert block.numbers.shape == (3, 0)
    assert list(block.texts) == []
    assert block.row_count == 3


def test_a_model_may_have_no_numbers_and_outputs_of_texts() -> None:
    outputs = (Output(name="pair", width=2, kind="text"),)
    source = source_of(replace(SUM, features=("country",), numbers=(), outputs=outputs), numbers=())
    scores = Scores([np.array([["a", "ä"], ["", "\udc80"]], dtype=object)], [], 0)
    record = record_of(rows=2, numbers=np.empty(0), scores=scores)
    block = block_of(source, whole(record), whole(record))
    (texts,) = block.outputs
    assert isinstance(texts, Texts)
    assert list(texts) == ["a", "ä", "", "?"] * 2
    assert block.numbers.shape == (4, 0)


def test_a_shadows_rows_point_to_their_originals() -> None:
    source = source_of(replace(SUM, kind="shadow"))
    found = [whole(replace(record_of(), original=each)) for each in (PredictionId(START, 1, 17), None)]
    block = block_of(source, *found)
    assert block.original_sequences.tolist() == [17, 0]
    assert block.original_writers.tolist() == [1, NO_WRITER]


@pytest.mark.parametrize("rows", [0, 1, 5_000, 20_001])
def test_parts_have_all_rows_of_a_prediction_once(rows: int) -> None:
    errors = [RowError(row, MISSING, "x0", "") for row in range(0, rows, 7)]
    record = record_of(rows=rows, errors=errors)
    parts = parts_of(2, 5, record, record.memory_bytes)
    assert sum(part.predictions for part in parts) == 1
    assert (len(parts) > 1) == (rows >= 5_000)
    assert max(part.size for part in parts) <= 300 << 10
    blocks = [block_of(source_of(), part) for part in parts]
    assert [row for block in blocks for row in block.index_of_row.tolist()] == list(range(rows))
    assert [text for block in blocks for text in block.texts] == list(record.texts)
    assert np.concatenate([block.numbers for block in blocks]).ravel().tolist() == record.numbers.tolist()
    found = [block.first_rows[0] + row for block in blocks for row in block.error_rows.tolist()]
    assert found == [error.row for error in errors]
    together = block_of(source_of(), *parts)
    assert together.error_rows.tolist() == [error.row for error in errors]
