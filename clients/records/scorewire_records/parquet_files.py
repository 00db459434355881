"""The Parquet files of records: `DIR/<model>/<version>/<day>/<start>-<segment>.parquet`.

A segment gives one file for each model, version, UTC day and set of columns. The
columns of a version differ when its policy has changed within a segment: then the
second set has the name `<start>-<segment>-1.parquet`, and so on. So the same segment
always gives the same files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scorewire_contract.records.source import Source
from scorewire_records import durable
from scorewire_records.store import SourceRows
from scorewire_records.tables import to_table

# The key of a file's metadata that has the descriptions of its sources, as a JSON list.
SOURCES_KEY = "scorewire.sources"
# Tables are collected up to so many bytes for a row group, and for all files together.
_GROUP_BYTES = 16 << 20
_COLLECTED_BYTES = 32 << 20
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d{8,10})(?:-\d+)?\.parquet")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY_US = 86_400_000_000
# Ids differ in their last digits, so that a dictionary of them would only cost time.
_ENCODINGS = {
    "prediction_id": "DELTA_BYTE_ARRAY",
    "shadow_of": "DELTA_BYTE_ARRAY",
    "time": "DELTA_BINARY_PACKED",
}


@dataclass(frozen=True, slots=True, order=True)
class RecordFile:
    """A Parquet file of records.

    Attributes:
        path: the file.
        model: the model.
        version: the version.
        day: the UTC day of all rows, like 2026-11-29.
        start: the start that wrote the rows.
        segment: the number of the segment that they were in.
    """

    path: Path
    model: str
    version: str
    day: str
    start: UUID
    segment: int


def record_files(records: Path, models: Iterable[str] | None = None) -> Iterator[RecordFile]:
    """The Parquet files in a folder of records, ordered by model, version, day and start.

    Args:
        records: the folder.
        models: these models only.
    """
    folders = [records / model for model in sorted(models)] if models is not None else _folders(records)
    for model in folders:
        for version in _folders(model):
            for day in _folders(version):
                if not _DAY.fullmatch(day.name):
                    continue
                for path in sorted(day.glob("*.parquet")):
                    if (match := _NAME.fullmatch(path.name)) is not None:
                        start, segment = UUID(match[1]), int(match[2])
                        yield RecordFile(path, model.name, version.name, day.name, start, segment)


def sources_of(path: Path) -> list[Source]:
    """The sources of the rows in a file."""
    metadata = pq.read_metadata(path).metadata or {}
    return [Source.decode(json.dumps(each).encode()) for each in json.loads(metadata[SOURCES_KEY.encode()])]


def remove_temporaries(records: Path) -> None:
    """Remove what is left of files that were not finished."""
    for model in _folders(records):
        for path in model.glob("*/*/.*.parquet.tmp"):
            path.unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    """The folders within a folder, but those of the spool and of states."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))
        )
    except FileNotFoundError:
        return []


@dataclass(slots=True, eq=False)
class _OpenFile:
    """A file that is being written."""

    path: Path
    schema: pa.Schema
    sources: dict[int, dict[str, Any]] = field(default_factory=dict)
    tables: list[pa.Table] = field(default_factory=list)
    nbytes: int = 0
    writer: pq.ParquetWriter | None = None

    def add(self, source: Source, table: pa.Table) -> None:
        if source.source not in self.sources:
            self.sources[source.source] = json.loads(source.encode())
        self.tables.append(table)
        self.nbytes += table.nbytes

    def flush(self) -> pq.ParquetWriter:
        """Write what was collected, as a row group."""
        if self.writer is None:
            durable.make_folder(self.path.parent)
            self.writer = pq.ParquetWriter(
                durable.temporary_of(self.path),
                self.schema,
                compression="zstd",
                use_dictionary=[name for name in _leaves(self.schema) if name not in _ENCODINGS],
                column_encoding=_ENCODINGS,
            )
        if self.tables:
            table = pa.concat_tables(self.tables)
            self.writer.write_table(table, row_group_size=max(1, len(table)))
        self.tables, self.nbytes = [], 0
        return self.writer

    def finish(self) -> None:
        writer = self.flush()
        writer.add_key_value_metadata({SOURCES_KEY: json.dumps(list(self.sources.values()))})
        writer.close()


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of columns as Parquet has them: lists have their values two levels below."""
    return [f"{each.name}.list.element" if pa.types.is_list(each.type) else each.name for each in schema]


class SegmentFiles:
    """The files of one segment, hidden until `publish`.

    Args:
        records: the folder of records.
        start: the start.
        segment: the number of the segment.
    """

    def __init__(self, records: Path, start: UUID, segment: int) -> None:
        self._records = records
        self._start = start
        self._segment = segment
        # By folder; in each the sets of columns in the order in which they came.
        self._files: dict[Path, list[_OpenFile]] = {}

    def add(self, block: SourceRows) -> None:
        """Add the rows of a block."""
        table = to_table(self._start, block.source, block.rows)
        days = np.floor_divide(block.rows.times_us, _DAY_US)
        of_row = np.repeat(days, block.rows.row_counts)
        for day in np.unique(days):
            rows = table if (of_row == day).all() else table.filter(pa.array(of_row == day))
            if len(rows):
                self._file(block.source, str(np.datetime64(int(day), "D")), table.schema).add(
                    block.source, rows
                )
        self._bound()

    def publish(self) -> None:
        """Put all files in place; once this returns, they are on the disk."""
        files = list(self._open())
        for each in files:
            each.finish()
        durable.publish({durable.temporary_of(each.path): each.path for each in files})

    def discard(self) -> None:
        """Remove what was written so far."""
        for each in self._open():
            if each.writer is not None:
                each.writer.close()
            durable.temporary_of(each.path).unlink(missing_ok=True)

    def _open(self) -> Iterator[_OpenFile]:
        for files in self._files.values():
            yield from files

    def _file(self, source: Source, day: str, schema: pa.Schema) -> _OpenFile:
        files = self._files.setdefault(self._records / source.model / source.version / day, [])
        for each in files:
            if each.schema.equals(schema):
                return each
        folder = self._records / source.model / source.version / day
        suffix = f"-{len(files)}" if files else ""
        files.append(_OpenFile(folder / f"{self._start}-{self._segment:08d}{suffix}.parquet", schema))
        return files[-1]

    def _bound(self) -> None:
        """Write the largest collections if they, or all together, are large."""
        files = list(self._open())
        collected = sum(each.nbytes for each in files)
        for each in sorted(files, key=lambda each: each.nbytes, reverse=True):
            if each.nbytes < _GROUP_BYTES and collected < _COLLECTED_BYTES:
                return
            collected -= each.nbytes
            each.flush()
