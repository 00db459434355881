"""What operators have set, kept over restarts in a small file.

The file is written whole or not at all, and the one before it is kept beside it
with the suffix .last. One that cannot be read, or whose checksum is not that of
its content, is put aside with the suffix .broken, and the last good one is used.
A server that uses a file holds a lock on a file beside it, with the suffix .lock.

The format is one integer. To raise it: write the new one, keep a reader of every
old one in `_READERS`, and keep a file of each under the tests.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scorewire_contract.schema import Version, check_model_name
from scorewire_server.catalog.file_lock import FileLock, LockedError
from scorewire_server.catalog.routing import MAX_WEIGHT
from scorewire_server.engine.snapshot import Routing, Shadow
from scorewire_server.errors import StartError
from scorewire_server.logs import logger
from scorewire_server.stale_files import remove_stale_files

FORMAT_VERSION = 2
MAX_HISTORY = 32
_MAX_BYTES = 4 << 20


class StateError(Exception):
    """The file is not one of this format, or cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """What was set for one model.

    `history` has the routings before, the last one last. `explicit` has the
    versions that are to be loaded or not, whatever the version policy says.
    """

    routing: Routing = field(default_factory=Routing)
    history: tuple[Routing, ...] = ()
    explicit: Mapping[str, bool] = field(default_factory=dict)

    def changed(self, routing: Routing) -> ModelState:
        """With another routing; what was before it can be brought back."""
        return replace(self, routing=routing, history=(*self.history, self.routing)[-MAX_HISTORY:])

    def pinned(self, release: str) -> ModelState:
        """With the release that was the highest so far wherever the highest was followed.

        For when another takes its place: what is brought back later is what answered.
        """
        routing, *history = (
            each if each.split else replace(each, split=((release, 1),))
            for each in (self.routing, *self.history)
        )
        return replace(self, routing=routing, history=tuple(history))


class StateFile:
    """The file of all models' states."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = path.with_name(path.name + ".last")
        self._lock: FileLock | None = None
        self._closed = False

    def open(self) -> None:
        """Keep other servers from the file, and remove what one that was killed has left half-written.

        Raises:
            StartError: another server uses it.
        """
        try:
            self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        except LockedError as error:
            raise StartError(
                f"--state-file {self.path} is in use by another server ({error}); stop that one first,"
                " or give each a file of its own with --state-file"
            ) from None
        except OSError as error:
            # As of a folder that only others may write to: then nothing can be changed, and no one is told.
            logger().warning("state file not locked", file=str(self.path), reason=str(error))
        else:
            # Only who holds the lock writes.
            remove_stale_files(self.path.parent, self.path.name + ".")

    def close(self) -> None:
        """Leave the file to another server; nothing more is written."""
        self._closed = True
        if self._lock is not None:
            self._lock.release()

    def read(self) -> dict[str, ModelState]:
        """The states, of the file or of the last good one; none where there is no file."""
        for path in (self.path, self._last):
            try:
                return _read(path)
            except FileNotFoundError:
                continue
            except StateError as error:
                logger().error("state refused", file=str(path), reason=str(error))
                if path == self.path:
                    self._put_aside()
        return {}

    def write(self, states: Mapping[str, ModelState]) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written, or would be too large to be read again.
        """
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the server is about to stop")
        models = {name: _to_json(state) for name, state in sorted(states.items())}
        told = {"format_version": FORMAT_VERSION, "sha256": _checksum(models), "models": models}
        content = json.dumps(told, indent=1).encode() + b"\n"
        if len(content) > _MAX_BYTES:
            raise OSError(errno.EFBIG, f"the file would have {len(content)} bytes, more than {_MAX_BYTES}")
        scratch = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                self.path.replace(self._last)
            scratch.replace(self.path)
            _sync_folder(self.path.parent)
        finally:
            scratch.unlink(missing_ok=True)

    def _put_aside(self) -> None:
        aside = self.path.with_name(self.path.name + ".broken")
        try:
            self.path.replace(aside)
        except OSError as error:
            logger().error("state cannot be put aside", file=str(self.path), reason=str(error))
        else:
            logger().error("state put aside; the last good one is used", file=str(aside))


def _sync_folder(path: Path) -> None:
    """Have the names of a folder's files outlive a loss of power, where the file system can do that."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, ModelState]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateError(f"it cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise StateError(f"it has more than {_MAX_BYTES} bytes")
    try:
        told = json.loads(content)
        reader = _READERS.get(told["format_version"])
        if reader is None:
            raise StateError(f"its format is {told['format_version']!r}, not one of 1 to {FORMAT_VERSION}")
        return {check_model_name(name): _from_json(state) for name, state in reader(told).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(f"it is not of this format: {type(error).__name__}: {str(error)[:200]}") from None


def _models_of_1(told: dict[str, Any]) -> dict[str, Any]:
    """Those of the format without a checksum."""
    if told.keys() != {"format_version", "models"}:
        raise StateError("its format is 1, which has no such fields")
    return dict(told["models"])


def _models_of_2(told: dict[str, Any]) -> dict[str, Any]:
    if told["sha256"] != _checksum(told["models"]):
        raise StateError("its checksum is not that of its content")
    return dict(told["models"])


_READERS = {1: _models_of_1, 2: _models_of_2}


def _checksum(models: dict[str, Any]) -> str:
    """SHA-256 of the states in JSON of one form, so that it is of what is said and not of how."""
    content = json.dumps(models, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def _to_json(state: ModelState) -> dict[str, Any]:
    return {
        "routing": _routing_to_json(state.routing),
        "history": list(map(_routing_to_json, state.history)),
        "explicit": dict(state.explicit),
    }


def _routing_to_json(routing: Routing) -> dict[str, Any]:
    shadow = routing.shadow
    return {
        "split": [[version, weight] for version, weight in routing.split],
        "aliases": dict(routing.aliases),
        "shadow": None if shadow is None else [shadow.version, shadow.share],
    }


def _from_json(told: dict[str, Any]) -> ModelState:
    return ModelState(
        routing=_routing_from_json(told["routing"]),
        history=tuple(map(_routing_from_json, told["history"][-MAX_HISTORY:])),
        # By the names of folders, which may be no versions.
        explicit={version: bool(wanted) for version, wanted in told["explicit"].items()},
    )


def _routing_from_json(told: dict[str, Any]) -> Routing:
    split = tuple((Version(version).text, _weight(weight)) for version, weight in told["split"])
    aliases = {
        check_model_name(alias, what="alias"): Version(version).text
        for alias, version in told["aliases"].items()
    }
    shadow = None
    if told["shadow"] is not None:
        version, share = told["shadow"]
        if not 0 < share <= 1:
            raise ValueError(f"a share is {share!r}")
        shadow = Shadow(Version(version).text, float(share))
    return Routing(split, aliases, shadow)


def _weight(weight: object) -> int:
    if not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
        raise ValueError(f"a weight is {weight!r}")
    return weight
