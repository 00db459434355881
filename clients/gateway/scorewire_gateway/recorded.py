"""Reads records of predictions, from a folder or a database, without holding up the event loop.

A read runs in a thread, ends when its time is over, and cannot change anything. Few
of them run at one time, and few wait for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorewire import Code
from scorewire_contract.records.identity import PredictionId
from scorewire_contract.service.logs import logger
from scorewire_contract.service.settings import STORE_URL, SettingError, has_password, is_store_url
from scorewire_gateway.errors import RequestError

if TYPE_CHECKING:
    import pyarrow as pa

    from scorewire_records.reader import Reader

_SECONDS = 10.0
# A thread that is in the middle of a step ends a little later than its time.
_MARGIN_SECONDS = 5.0
_MAX_READING = 2
_MAX_WAITING = 16
_FEATURE, _OUTPUT = "feature_", "output_"
_FIELDS = (
    *("prediction_id", "row", "time", "model", "version", "route", "route_kind", "share"),
    *("caller", "principal", "routing_key", "shadow_of", "server_time_us", "model_time_us"),
)


def open_reader(records: str, password_file: Path | None) -> Reader:
    """The reader of `--records`: a folder, or the URL of a database.

    Raises:
        SettingError: the folder does not exist, the URL is not valid, or scorewire-records is not installed.
    """
    if find_spec("scorewire_records") is None:
        raise SettingError("--records needs the package scorewire-records: pip install scorewire-records")
    if "://" not in records:
        if password_file is not None:
            raise SettingError("--records-password-file is for a database, and --records is a folder")
        if not Path(records).is_dir():
            raise SettingError(f"--records: {records} is not a folder")
        # DuckDB, and below psycopg, cost memory that a gateway without records does without.
        from scorewire_records.folder_reader import FolderReader  # noqa: PLC0415

        return FolderReader(Path(records), seconds=_SECONDS)
    if has_password(records):
        raise SettingError(
            "--records has a password, which other users of this machine may see: give it in a file"
            " (--records-password-file), in PGPASSWORD or in libpq's password file"
        )
    if not is_store_url(records):
        raise SettingError(f"--records must be a folder or {STORE_URL.description}")
    from scorewire_records.postgresql.connection import Database, DatabaseError  # noqa: PLC0415
    from scorewire_records.postgresql.reader import PostgresReader  # noqa: PLC0415

    try:
        return PostgresReader(Database.of_url(records, password_file), seconds=_SECONDS)
    except DatabaseError as error:
        raise SettingError(f"--records: {error}") from None


class Records:
    """The records that a gateway tells; to be used from one event loop.

    Args:
        reader: the reader.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._slots = asyncio.Semaphore(_MAX_READING)
        self._waiting = 0

    async def latest(self, count: int, model: str) -> list[dict[str, Any]]:
        """The latest records, newest first; of all models if `model` is empty.

        Raises:
            RequestError: the records cannot be read now, or not in time.
        """
        from scorewire_records.selection import Selection  # noqa: PLC0415 - an extra

        selection = Selection(model=model or None)
        return await self._read(lambda: map(_to_json, reversed(self._reader.latest(count, selection))))

    async def find(self, prediction: PredictionId, count: int) -> list[dict[str, Any]]:
        """The records of one prediction, at most `count`; empty if it is not recorded.

        Raises:
            RequestError: the records cannot be read now, or not in time.
        """
        return await self._read(lambda: map(_to_json, self._reader.find(prediction, count)))

    async def _read(self, read: Callable[[], Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
        if self._waiting >= _MAX_WAITING:
            raise RequestError(
                f"{_MAX_WAITING} requests for records wait already; try again later",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_READS",
                headers={"Retry-After": "1"},
            )
        try:
            self._waiting += 1
            try:
                async with asyncio.timeout(_SECONDS):
                    await self._slots.acquire()
            finally:
                self._waiting -= 1
            future = asyncio.get_running_loop().run_in_executor(None, self._settled, read)
            # A thread cannot be stopped from outside, so that its slot is free only when it ends.
            future.add_done_callback(lambda _: self._slots.release())
            async with asyncio.timeout(_SECONDS + _MARGIN_SECONDS):
                found = await asyncio.shield(future)
        except TimeoutError:
            raise _too_slow() from None
        if isinstance(found, Exception):
            raise _refusal(found)
        return found

    def _settled(self, read: Callable[[], Iterable[dict[str, Any]]]) -> list[dict[str, Any]] | Exception:
        """The records or the exception, so that one that nobody waits for any more is no warning."""
        try:
            return list(read())
        except Exception as error:
            # It is raised where somebody waits.
            return error


def _refusal(error: Exception) -> Exception:
    from scorewire_records.database import QueryError, TimeLimitError  # noqa: PLC0415 - an extra

    if isinstance(error, TimeLimitError):
        return _too_slow()
    if not isinstance(error, QueryError | OSError):
        return error
    # The text may have paths of this machine, or the address of a database.
    logger().warning("records cannot be read", error=str(error))
    return RequestError(
        "the records cannot be read; the gateway's log has the reason",
        code=Code.UNAVAILABLE,
        reason="RECORDS_UNAVAILABLE",
    )


def _too_slow() -> RequestError:
    return RequestError(
        f"the records could not be read within {_SECONDS:g} seconds",
        code=Code.DEADLINE_EXCEEDED,
        reason="RECORDS_TOO_SLOW",
    )


def _to_json(table: pa.Table) -> dict[str, Any]:
    """The record in a table of one row; a missing feature is null, and so is an output of a failed row."""
    (row,) = table.to_pylist()
    error = {"reason": row["error_reason"], "feature": row["error_feature"]} if row["error_reason"] else None
    return {
        **{name: _plain(row.get(name)) for name in _FIELDS},
        "error": error,
        "features": _part(row, _FEATURE),
        "outputs": _part(row, _OUTPUT),
    }


def _part(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
