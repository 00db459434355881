"""Writes spools as servers do: starts, segments, blocks, and what is left of them after a crash."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from uuid import UUID

import numpy as np

from scorewire_contract.records.blocks import Header, Kind, encode_block
from scorewire_contract.records.identity import new_start
from scorewire_contract.records.ledger import Count, WriterLedger, encode_ledgers
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import LOCK, segment_path, spool_folder, start_folder
from scorewire_contract.records.source import Output, Source, Start
from scorewire_contract.records.texts import Texts

# 2096-11-30 01:00 UTC: so late that no retention is over at the time of the machine.
TIME_US = 4_005_075_600_000_000
DAY_US = 86_400_000_000


def source(
    number: int = 1,
    *,
    model: str = "churn",
    version: str = "1.0.0",
    kind: str = "default",
    route: str = "",
    share: float = 1.0,
    numbers: tuple[str, ...] = ("age", "income"),
    texts: tuple[str, ...] = ("country",),
    features: tuple[str, ...] = ("age", "country", "income"),
    hashed: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
    retention_days: int | None = None,
    outputs: tuple[Output, ...] = (
        Output(name="probability", width=2, kind="probability", labels=("no", "yes")),
        Output(name="class", width=1, kind="class", labels=("no", "yes")),
    ),
) -> Source:
    return Source(
        source=number,
        model=model,
        version=version,
        fingerprint="5f0c5f0c5f0c5f0c",
        route=route,
        kind=kind,
        share=share,
        features=features,
        numbers=numbers,
        texts=texts,
        hashed=hashed,
        dropped=dropped,
        retention_days=retention_days,
        outputs=outputs,
        score_output=0,
    )


def rows_of(
    source: Source, first: int, count: int, *, per_call: int = 1, time_us: int = TIME_US, writer: int = 0
) -> RowsBlock:
    """`count` predictions whose values follow from their sequence numbers, from `first` on."""
    sequences = np.arange(first, first + count, dtype=np.uint64)
    m = count * per_call
    value = np.repeat(sequences, per_call).astype(np.float64)
    width = len(source.numbers)
    outputs = tuple(
        Texts.of(f"{each:g}" for each in np.repeat(value, output.width))
        if output.is_text
        else np.repeat(value / (1 << 20), output.width).reshape(m, output.width)
        for output in source.outputs
    )
    shadow = count if source.is_shadow else 0
    return RowsBlock(
        sequences=sequences,
        times_us=np.full(count, time_us, np.int64) + np.arange(count),
        server_us=np.full(count, 50, np.uint32),
        model_us=np.full(count, 30, np.uint32),
        first_rows=np.zeros(count, np.uint32),
        row_counts=np.full(count, per_call, np.uint32),
        writers=np.full(count, writer, np.uint16),
        flags=np.zeros(count, np.uint16),
        original_sequences=sequences[:shadow],
        original_writers=np.zeros(shadow, np.uint16),
        callers=Texts.of(["127.0.0.1"] * count),
        routing_keys=Texts.of(f"key-{each}" for each in sequences),
        principals=Texts.of(("shop", "", "game")[each % 3] for each in sequences.tolist()),
        numbers=np.repeat(value, width).reshape(m, width),
        texts=Texts.of(f"text-{each:g}" for each in np.repeat(value, len(source.texts))),
        error_rows=np.array([], np.uint32),
        error_reasons=np.array([], np.uint16),
        error_features=np.array([], np.uint16),
        outputs=outputs,
    )


class SpoolWriter:
    """Writes the spool of one start, like the spool thread of a server, and holds its lock.

    One writer gives the sequence numbers 0, 1, 2 and so on.
    """

    def __init__(self, records: Path, start: UUID | None = None) -> None:
        self.start = start or new_start()
        self.folder = start_folder(spool_folder(records), self.start)
        self.folder.mkdir(parents=True)
        self._lock = (self.folder / LOCK).open("wb")
        fcntl.flock(self._lock.fileno(), fcntl.LOCK_EX)
        self.segment = -1
        self.next_sequence = 0
        self.rows_before = 0
        # Of each block that was written: the segment, the offset, the header.
        self.blocks: list[tuple[int, int, Header]] = []
        self._predictions_before = 0
        self._file: BinaryIO | None = None
        self._defined: set[int] = set()

    def __enter__(self) -> SpoolWriter:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()

    def write(self, source: Source, count: int, *, per_call: int = 1, time_us: int = TIME_US) -> RowsBlock:
        """Record some predictions, as one block and a ledger."""
        rows = rows_of(source, self.next_sequence, count, per_call=per_call, time_us=time_us)
        self.next_sequence += count
        self.write_rows(source, rows)
        self.write_ledger()
        return rows

    def write_rows(self, source: Source, rows: RowsBlock) -> None:
        self.define(source)
        header = replace(
            self._header(Kind.ROWS),
            source=source.source,
            predictions=len(rows),
            rows=rows.row_count,
            first_sequence=int(rows.sequences.min()),
            fingerprint=source.fingerprint_number,
        )
        self.append(header, rows.encode())

    def define(self, source: Source) -> None:
        if self._file is None:
            self.begin_segment()
        if source.source not in self._defined:
            self._defined.add(source.source)
            self.append(self._header(Kind.SOURCE), source.encode())

    def write_ledger(self, *, dropped: int = 0) -> None:
        self.next_sequence += dropped
        spooled = Count(self._predictions_before, self.rows_before)
        nothing = Count()
        causes = (Count(dropped, dropped), nothing, nothing, nothing)
        ledger = WriterLedger(self.next_sequence, nothing, spooled, causes)
        self.append(self._header(Kind.LEDGER), encode_ledgers([ledger]))

    def begin_segment(self) -> None:
        self.segment += 1
        self._defined.clear()
        self._file = segment_path(self.folder, self.segment).open("wb", buffering=0)
        begun = Start(
            start=self.start,
            segment=self.segment,
            created="2096-11-29T17:00:00.000000Z",
            server="0.1.0",
            engine="native",
            writers=1,
        )
        self.append(self._header(Kind.START), begun.encode())

    def close_segment(self, *, is_last: bool = False) -> None:
        self.append(replace(self._header(Kind.END), source=int(is_last)), b"")
        self._close()

    def stop(self) -> None:
        """Stop in order: the last block says so."""
        if self._file is not None:
            self.close_segment(is_last=True)
        self._lock.close()

    def kill(self) -> None:
        """Leave everything as it is."""
        self._close()
        self._lock.close()

    def append(self, header: Header, body: bytes) -> None:
        if self._file is None:
            self.begin_segment()
        assert self._file is not None
        self.blocks.append((self.segment, self._file.tell(), header))
        self._file.write(encode_block(header, body))
        self._predictions_before += header.predictions
        self.rows_before += header.rows

    def _header(self, kind: Kind) -> Header:
        if self._file is None and kind != Kind.START:
            self.begin_segment()
        return Header(
            kind=kind,
            start=self.start,
            number=len(self.blocks),
            predictions_before=self._predictions_before,
            rows_before=self.rows_before,
        )

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
