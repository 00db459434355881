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
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.source import Source
from scorewire_contract.service import durable
from scorewire_records.joining import joined, nbytes
from scorewire_records.store import SourceRows
from scorewire_records.tables import to_table

# The key of a file's metadata that has the descriptions of its sources, as a JSON list.
SOURCES_KEY = "scorewire.sources"
# Blocks are collected up to so many bytes for a row group, and for all sources together.
_GROUP_BYTES = 4 << 20
_COLLECTED_BYTES = 12 << 20
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d{8,10})(?:-\d+)?\.parquet")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY_US = 86_400_000_000
# Ids and times differ in their last digits, so that a dictionary of them would only cost time. Everyone reads
# plain values, but not the encodings of differences.
_PLAIN = {"prediction_id", "shadow_of", "time"}


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


class _File:
    """A file that is being written, hidden until it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._sources: dict[int, Any] = {}
        durable.make_folder(path.parent)
        self._writer = pq.ParquetWriter(
            durable.temporary_of(path),
            schema,
            compression="zstd",
            use_dictionary=[name for name in _leaves(schema) if name not in _PLAIN],
        )

    def write(self, source: Source, table: pa.Table) -> None:
        if source.source not in self._sources:
            self._sources[source.source] = json.loads(source.encode())
        self._writer.write_table(table, row_group_size=len(table))

    def finish(self) -> None:
        if self._writer.is_open:
            self._writer.add_key_value_metadata({SOURCES_KEY: json.dumps(list(self._sources.values()))})
            self._writer.close()

    def discard(self) -> None:
        self._writer.close()
        durable.temporary_of(self.path).unlink(missing_ok=True)


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of columns as Parquet has them: lists have their values two levels below."""
    return [f"{each.name}.list.element" if pa.types.is_list(each.type) else each.name for each in schema]


@dataclass(slots=True, eq=False)
class _Collected:
    """Blocks of one source that are not written yet."""

    source: Source
    blocks: list[RowsBlock] = field(default_factory=list)
    nbytes: int = 0


class SegmentFiles:
    """The files of one segment, hidden until `publish`.

    Args:
        records: the folder of records.
        start: the start.
        segment: the number of the segment.
    """

    def __init__(self, records: Path, start: UUID, segment: int) -> None:
        self._records = records
        self._name = f"{start}-{segment:08d}"
        self._start = start
        self._collected: dict[int, _Collected] = {}
        self._nbytes = 0
        # By folder; in each the sets of columns in the order in which they came.
        self._files: dict[Path, list[_File]] = {}

    def add(self, block: SourceRows) -> None:
        """Add the rows of a block."""
        collected = self._collected.setdefault(block.source.source, _Collected(block.source))
        size = nbytes(block.rows)
        collected.blocks.append(block.rows)
        collected.nbytes += size
        self._nbytes += size
        if collected.nbytes >= _GROUP_BYTES:
            self._write(collected)
        elif self._nbytes >= _COLLECTED_BYTES:
            self._write(max(self._collected.values(), key=lambda each: each.nbytes))

    def publish(self) -> None:
        """Put all files in place; once this returns, they are on the disk."""
        # One version after the other, so that few files are open at a time.
        by_version = sorted(
            self._collected.values(), key=lambda each: (each.source.model, each.source.version)
        )
        for (model, version), sources in groupby(
            by_version, lambda each: (each.source.model, each.source.version)
        ):
            for each in sources:
                self._write(each)
            for folder, files in self._files.items():
                if folder.parent == self._records / model / version:
                    for file in files:
                        file.finish()
        files = [file for files in self._files.values() for file in files]
        durable.publish({durable.temporary_of(each.path): each.path for each in files})

    def discard(self) -> None:
        """Remove what was written so far."""
        for files in self._files.values():
            for each in files:
                each.discard()

    def _write(self, collected: _Collected) -> None:
        """Write what was collected of a source as a row group, one for each day."""
        source, blocks = collected.source, collected.blocks
        self._nbytes -= collected.nbytes
        collected.blocks, collected.nbytes = [], 0
        if not blocks:
            return
        rows = joined(blocks)
        del blocks
        table = to_table(self._start, source, rows)
        days = np.repeat(np.floor_divide(rows.times_us, _DAY_US), rows.row_counts)
        del rows
        for day in np.unique(days):
            part = table if (days == day).all() else table.filter(pa.array(days == day))
            self._file(source, str(np.datetime64(int(day), "D")), table.schema).write(source, part)

    def _file(self, source: Source, day: str, schema: pa.Schema) -> _File:
        folder = self._records / source.model / source.version / day
        files = self._files.setdefault(folder, [])
        for each in files:
            if each.schema.equals(schema):
                return each
        suffix = f"-{len(files)}" if files else ""
        files.append(_File(folder / f"{self._name}{suffix}.parquet", schema))
        return files[-1]
