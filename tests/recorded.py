"""Reads back what an engine has recorded, prediction by prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from scorewire_contract.records.blocks import Block, Kind
from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.ledger import WriterLedger, decode_ledgers
from scorewire_contract.records.rows import NO_WRITER, RowsBlock
from scorewire_contract.records.segments import read_segment, segments, spool_folder, start_folder, starts
from scorewire_contract.records.source import Source
from scorewire_contract.records.texts import Texts


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The record of one prediction.

    Attributes:
        numbers: for each row its numbers.
        texts: for each row its texts.
        outputs: for each output, for each row its values.
        errors: row, number of the reason, name of the feature.
        original: of a shadow, the prediction that was copied.
        parts: how many parts the rows were cut into.
    """

    source: Source
    time_us: int
    server_us: int
    model_us: int
    kept: bool
    caller: str
    principal: str
    routing_key: str
    numbers: list[list[float]]
    texts: list[list[str]]
    outputs: list[list[list[Any]]]
    errors: list[tuple[int, int, str]]
    original: PredictionId | None = None
    parts: int = 1

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Spool:
    """The spool of one start.

    Attributes:
        predictions: the records, by their ids.
        ledgers: the last ledger of each writer.
        is_closed: whether the last block says that the server stopped in order.
    """

    start: UUID
    predictions: dict[PredictionId, Recorded]
    ledgers: list[WriterLedger]
    is_closed: bool


def read_spool(records: Path) -> Spool:
    """Read the spool of the only start in a folder of records; all of its blocks must be whole."""
    spool = spool_folder(records)
    (start,) = starts(spool)
    parts: dict[PredictionId, list[tuple[int, Recorded]]] = {}
    ledgers: list[WriterLedger] = []
    is_closed = False
    for _, path in segments(start_folder(spool, start)):
        sources: dict[int, Source] = {}
        for block in read_segment(path):
            assert isinstance(block, Block), block
            assert not is_closed
            header = block.header
            match header.kind:
                case Kind.SOURCE:
                    source = Source.decode(block.body)
                    sources[source.source] = source
                case Kind.ROWS:
                    source = sources[header.source]
                    assert header.fingerprint == source.fingerprint_number
                    for identity, first_row, recorded in _predictions(
                        start, source, RowsBlock.decode(block.body, source, header.format)
                    ):
                        parts.setdefault(identity, []).append((first_row, recorded))
                case Kind.LEDGER:
                    ledgers = decode_ledgers(block.body)
                case Kind.END:
                    is_closed = header.source == 1
                case _:
                    pass
    return Spool(start, {identity: _joined(each) for identity, each in parts.items()}, ledgers, is_closed)


def _predictions(
    start: UUID, source: Source, rows: RowsBlock
) -> Iterator[tuple[PredictionId, int, Recorded]]:
    ends = np.cumsum(rows.row_counts, dtype=np.int64).tolist()
    texts, outputs = list(rows.texts), [_by_row(each, rows.row_count) for each in rows.outputs]
    width = len(source.texts)
    for i, end in enumerate(ends):
        part = slice(end - int(rows.row_counts[i]), end)
        original = None
        if source.is_shadow and rows.original_writers[i] != NO_WRITER:
            original = PredictionId(start, int(rows.original_writers[i]), int(rows.original_sequences[i]))
        first_row = int(rows.first_rows[i])
        yield (
            PredictionId(start, int(rows.writers[i]), int(rows.sequences[i])),
            first_row,
            Recorded(
                source=source,
                time_us=int(rows.times_us[i]),
                server_us=int(rows.server_us[i]),
                model_us=int(rows.model_us[i]),
                kept=bool(rows.flags[i] & 1),
                caller=rows.callers[i],
                principal=rows.principals[i],
                routing_key=rows.routing_keys[i],
                numbers=rows.numbers[part].tolist(),
                texts=[texts[row * width : (row + 1) * width] for row in range(part.start, part.stop)],
                outputs=[each[part] for each in outputs],
                errors=[
                    (row - part.start + first_row, reason, source.features[feature])
                    for row, reason, feature in zip(
                        rows.error_rows.tolist(),
                        rows.error_reasons.tolist(),
                        rows.error_features.tolist(),
                        strict=True,
                    )
                    if part.start <= row < part.stop
                ],
                original=original,
            ),
        )


def _by_row(values: Any, row_count: int) -> list[list[Any]]:
    if not isinstance(values, Texts):
        rows: list[list[Any]] = values.tolist()
        return rows
    texts, width = list(values), len(values) // row_count
    return [texts[row * width : (row + 1) * width] for row in range(row_count)]


def _joined(parts: list[tuple[int, Recorded]]) -> Recorded:
    """The record whose parts these are; they must have all its rows."""
    parts.sort(key=lambda part: part[0])
    first = parts[0][1]
    whole = [each for _, each in parts]
    counts = np.cumsum([0, *map(len, whole)]).tolist()
    assert [first_row for first_row, _ in parts] == counts[:-1]
    return Recorded(
        source=first.source,
        time_us=first.time_us,
        server_us=first.server_us,
        model_us=first.model_us,
        kept=first.kept,
        caller=first.caller,
        principal=first.principal,
        routing_key=first.routing_key,
        numbers=[row for each in whole for row in each.numbers],
        texts=[row for each in whole for row in each.texts],
        outputs=[[row for each in whole for row in each.outputs[i]] for i in range(len(first.outputs))],
        errors=[error for each in whole for error in each.errors],
        original=first.original,
        parts=len(parts),
    )
