"""Keeps records as Parquet files, which pandas, polars, DuckDB and others read as they are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypedDict
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from scorewire_contract.service import durable
from scorewire_records.parquet_files import RecordFile, SegmentFiles, record_files, remove_temporaries
from scorewire_records.start_state import StartStates
from scorewire_records.store import Contents, SourceRows, StoreError, Totals

_RETENTION = "_retention.json"


class _Retention(TypedDict):
    """How long the records of a model are kept, and the block that said so."""

    days: int | None
    start: str
    block: int


class ParquetStore:
    """Keeps records in a folder, beside its spool.

    The retention of a model is the one of its latest source. It holds for all records of the model, whatever
    it was when they were made. Days are removed as a whole, once all of their rows are too old.

    Args:
        records: the folder of records.
        states: the states of its starts, which also count expired rows.
    """

    name = "parquet"
    whole_segments = True

    def __init__(self, records: Path, states: StartStates) -> None:
        self._records = records
        self._states = states
        self._known_retention: dict[str, _Retention] | None = None

    def position(self, start: UUID) -> int:  # noqa: ARG002 - see Store
        """See `Store`: the store makes the same files again."""
        return 0

    def store(self, start: UUID, segment: int, blocks: Iterable[Contents]) -> None:
        """See `Store`."""
        files = SegmentFiles(self._records, start, segment)
        retention = dict(self._retention())
        try:
            for block in blocks:
                if isinstance(block, SourceRows):
                    with _as_store_error():
                        files.add(block)
                    _learn(retention, start, block)
            with _as_store_error():
                self._keep_retention(retention)
                files.publish()
        except BaseException:
            with _as_store_error():
                files.discard()
            raise

    def pass_over(self, start: UUID, block: SourceRows) -> None:
        """See `Store`: never called."""

    def expire(self, now: datetime) -> set[UUID]:
        """See `Store`.

        A file counts as expired before it is removed. The state names it until then, so that a crash
        between the two steps neither counts it twice nor leaves it there.
        """
        with _as_store_error():
            remove_temporaries(self._records)
            changed = self._finish_expiring()
            expired: dict[UUID, list[RecordFile]] = defaultdict(list)
            for file in self._too_old(now):
                state = self._states.get(file.start)
                # A segment that is not done will be stored again.
                if state is None or file.segment < state.segment:
                    expired[file.start].append(file)
            for start, files in expired.items():
                self._expire(start, files)
            return changed | set(expired)

    def totals(self, start: UUID) -> Totals | None:  # noqa: ARG002 - see Store
        """See `Store`: the states count."""
        return None

    def close(self) -> None:
        """See `Store`."""

    def _too_old(self, now: datetime) -> Iterator[RecordFile]:
        oldest = {
            model: (now - timedelta(days=kept["days"])).date().isoformat()
            for model, kept in self._retention().items()
            if kept["days"] is not None
        }
        return (file for file in record_files(self._records, oldest) if file.day < oldest[file.model])

    def _expire(self, start: UUID, files: list[RecordFile]) -> None:
        rows = {file: count for file in files if (count := self._rows(file)) is not None}
        names = tuple(str(file.path.relative_to(self._records)) for file in rows)
        state = self._states.get(start)
        if state is None:
            self._remove(names)
            return
        count = sum(rows.values())
        counted = replace(
            state,
            stored=state.stored - count,
            expired=state.expired + count,
            filed_expired=state.filed_expired + count,
            expiring=names,
        )
        self._states.put(counted)
        self._remove(names)
        self._states.put(replace(counted, expiring=()))

    def _rows(self, file: RecordFile) -> int | None:
        """The rows of a file; None if it cannot be read, so that people have to look at it."""
        try:
            return int(pq.read_metadata(file.path).num_rows)
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            name = str(file.path.relative_to(self._records))
            self._states.problems[name] = f"{name} has expired, and cannot be read: remove it ({error})"
            return None

    def _finish_expiring(self) -> set[UUID]:
        """Remove what a shipper that was killed had counted, but perhaps not removed."""
        changed = set()
        for start in self._states.starts():
            state = self._states.get(start)
            if state is not None and state.expiring:
                self._remove(state.expiring)
                self._states.put(replace(state, expiring=()))
                changed.add(start)
        return changed

    def _remove(self, names: Iterable[str]) -> None:
        paths = [self._records / name for name in names]
        durable.remove(path for path in paths if path.exists())
        for day in {path.parent for path in paths}:
            for folder in (day, day.parent, day.parent.parent):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _keep_retention(self, retention: dict[str, _Retention]) -> None:
        if retention != self._retention():
            durable.write_json(self._records / _RETENTION, retention)
            self._known_retention = retention

    def _retention(self) -> dict[str, _Retention]:
        if self._known_retention is None:
            with _as_store_error():
                self._known_retention = self._read_retention()
        return self._known_retention

    def _read_retention(self) -> dict[str, _Retention]:
        try:
            found = json.loads((self._records / _RETENTION).read_bytes())
            return {
                model: {"days": kept["days"], "start": str(kept["start"]), "block": int(kept["block"])}
                for model, kept in found.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            self._states.problems[_RETENTION] = f"{_RETENTION} cannot be understood; new records replace it"
            return {}


def _learn(retention: dict[str, _Retention], start: UUID, block: SourceRows) -> None:
    """Take over the retention of a source, unless a later one is known."""
    known = retention.get(block.source.model)
    days = block.source.retention_days
    if known is not None and (known["start"], known["block"]) > (str(start), block.number):
        return
    if known is None or known["days"] != days:
        retention[block.source.model] = {"days": days, "start": str(start), "block": block.number}


@contextmanager
def _as_store_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise StoreError(f"{named}{error.strerror or error}") from error
    except pa.ArrowException as error:
        raise StoreError(f"the Parquet files cannot be written: {error}") from error
