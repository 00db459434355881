"""Records as views of DuckDB, for SQL that can do nothing but read them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import duckdb
import pyarrow as pa

from scorewire_records.parquet_files import RecordFile
from scorewire_records.tables import FIXED

# The view of the records of all models. Each model has a view of its own name, too.
ALL = "records"
# A table without rows, with the columns that all records have.
_NO_RECORDS = "versions.nothing"
# How often a query whose time is over is stopped.
_STOP_AGAIN_SECONDS = 0.1
_Columns: TypeAlias = "dict[str, str]"


class QueryError(Exception):
    """A query is refused or fails; the message tells why."""


class TimeLimitError(QueryError):
    """A query takes longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"reading the records took longer than {seconds:g} seconds")


@contextmanager
def open_database(
    files: Sequence[RecordFile], limit: TimeLimit | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database whose views have the rows of files, and that reads nothing else and writes nothing.

    Raises:
        TimeLimitError: the time is over.
        QueryError: a file cannot be read.
    """
    limit = limit or TimeLimit(None)
    with TemporaryDirectory(prefix="scorewire-records-") as spill:
        connection = duckdb.connect(config={"temp_directory": spill})
        try:
            with limit.ending(connection.interrupt):
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("SET parquet_metadata_cache = true")
                _create_views(connection, files)
                _lock(connection, [file.path for file in files])
                yield connection
        except duckdb.Error as error:
            limit.check()
            raise QueryError(str(error)) from error
        finally:
            connection.close()


class TimeLimit:
    """When a query has to be over.

    Args:
        seconds: the time from now on; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Check that there is time left.

        Raises:
            TimeLimitError: there is none.
        """
        if self._seconds is not None and self._end is not None and time.monotonic() >= self._end:
            raise TimeLimitError(self._seconds)

    @contextmanager
    def ending(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` from another thread, again and again, if the time is over before the block.

        `stop` ends what runs at that moment only, so that once would not do: a query may begin just after it.
        """
        if self._end is None:
            yield
            return
        self.check()
        over = threading.Event()
        thread = threading.Thread(target=self._stop, args=(over, stop), name="time-limit", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _stop(self, over: threading.Event, stop: Callable[[], None]) -> None:
        while self._end is not None and not over.wait(max(self._end - time.monotonic(), _STOP_AGAIN_SECONDS)):
            stop()


def read_only(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    """The result of one SELECT, in batches.

    Raises:
        QueryError: the text is not one SELECT, or fails.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("a query is one SELECT; other statements are refused")
        relation = connection.sql(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    return relation.to_arrow_reader()


def version_view(model: str, version: str) -> str:
    """The view of the records of one version, as SQL names it."""
    return f"versions.{identifier(f'{model} {version}')}"


def identifier(name: str) -> str:
    """A name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL quotes it."""
    return "'" + value.replace("'", "''") + "'"


def _create_views(connection: duckdb.DuckDBPyConnection, files: Iterable[RecordFile]) -> None:
    by_version: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        by_version[file.model][file.version].append(file.path)
    connection.execute("CREATE SCHEMA versions")
    # Files of an earlier release may lack a column of ours.
    connection.from_arrow(FIXED.empty_table()).create(_NO_RECORDS)
    views: dict[str, dict[str, _Columns]] = {}
    for model, versions in by_version.items():
        for version, paths in versions.items():
            view = version_view(model, version)
            listed = ", ".join(text(str(path)) for path in paths)
            # union_by_name: a policy may have dropped a feature, or hashed a number, in some of the files.
            rows = f"read_parquet([{listed}], union_by_name = true)"
            connection.execute(f"CREATE VIEW {view} AS FROM {rows}")
            columns = connection.execute(f"DESCRIBE {view}").fetchall()
            views.setdefault(model, {})[view] = {name: kind for name, kind, *_ in columns}
    for model, parts in views.items():
        if model != ALL:
            connection.execute(f"CREATE VIEW {identifier(model)} AS {_union(parts)}")
    everything = {view: columns for parts in views.values() for view, columns in parts.items()}
    connection.execute(f"CREATE VIEW {ALL} AS {_union(everything)}")


def _union(views: dict[str, _Columns]) -> str:
    """The rows of views whose columns may differ: an output may be a number here and a list there."""
    lists = {name for columns in views.values() for name, kind in columns.items() if kind.endswith("[]")}
    selects = []
    for view, columns in views.items():
        wrapped = [name for name, kind in columns.items() if name in lists and not kind.endswith("[]")]
        terms = ", ".join(
            f"CASE WHEN {identifier(name)} IS NOT NULL THEN [{identifier(name)}] END AS {identifier(name)}"
            for name in wrapped
        )
        selects.append(f"SELECT * {f'REPLACE ({terms}) ' if terms else ''}FROM {view}")
    return " UNION ALL BY NAME ".join([*selects, f"FROM {_NO_RECORDS}"])


def _lock(connection: duckdb.DuckDBPyConnection, paths: Iterable[Path]) -> None:
    listed = ", ".join(text(str(path)) for path in paths)
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
