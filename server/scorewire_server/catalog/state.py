"""What operators have set, kept over restarts in a small JSON file.

The file is written whole or not at all. The file before it is kept beside it, with
the suffix .last. A file that cannot be read, or whose checksum is wrong, is renamed
to the suffix .broken, and the .last file is used. A server holds a lock on a file
with the suffix .lock while it uses the state file.

The format is one integer. To raise it: write the new format, keep a reader of every
old format in `_READERS`, and keep a file of each old format under the tests.
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
from scorewire_contract.service.file_lock import FileLock, LockedError
from scorewire_contract.service.logs import logger
from scorewire_contract.service.stale_files import remove_stale_files
from scorewire_contract.service.start import StartError
from scorewire_server.catalog.routing import MAX_WEIGHT
from scorewire_server.engine.snapshot import Routing, Shadow

FORMAT_VERSION = 2
MAX_HISTORY = 32
_MAX_BYTES = 4 << 20


class StateError(Exception):
    """The file cannot be read or is not valid; the message says why."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """What operators have set for one model.

    Attributes:
        routing: the aliases, the split and the shadow.
        history: the routings before, the latest one last; a rollback goes back along them.
        explicit: versions that an operator has loaded (True) or unloaded (False) against the
            version policy.
    """

    routing: Routing = field(default_factory=Routing)
    history: tuple[Routing, ...] = ()
    explicit: Mapping[str, bool] = field(default_factory=dict)

    def changed(self, routing: Routing) -> ModelState:
        """The state with another routing; the routing before becomes part of the history."""
        return replace(self, routing=routing, history=(*self.history, self.routing)[-MAX_HISTORY:])

    def pinned(self, release: str) -> ModelState:
        """The state in which every empty split, now and in the history, names `release`.

        An empty split follows the highest release. When a higher one comes, a rollback
        must bring back the release that answered until then.
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
        """Lock the file, and remove files that a killed server left half-written.

        Raises:
            StartError: another server uses the file.
        """
        try:
            self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        except LockedError as error:
            raise StartError(
                f"--state-file {self.path} is in use by another server ({error}); stop that one first,"
                " or give each a file of its own with --state-file"
            ) from None
        except OSError as error:
            # Such as a folder that this server may not write to. Then no change can be kept, either.
            logger().warning("state file not locked", file=str(self.path), reason=str(error))
        else:
            # Only the holder of the lock writes such files.
            remove_stale_files(self.path.parent, self.path.name + ".")

    def close(self) -> None:
        """Release the file for another server; from now on `write` fails."""
        self._closed = True
        if self._lock is not None:
            self._lock.release()

    def read(self) -> dict[str, ModelState]:
        """The states by model, from the file or from the .last file; empty where neither exists."""
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
            OSError: the file cannot be written, would be too large to be read again, or was closed.
        """
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the server is about to stop")
        models = {name: _to_json(state) for name, state in sorted(states.items())}
        document = {"format_version": FORMAT_VERSION, "sha256": _checksum(models), "models": models}
        content = json.dumps(document, indent=1).encode() + b"\n"
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
    """Make the names in a folder survive a loss of power, where the file system supports that."""
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
        document = json.loads(content)
        reader = _READERS.get(document["format_version"])
        if reader is None:
            raise StateError(
                f"its format is {document['format_version']!r}, not one of 1 to {FORMAT_VERSION}"
            )
        return {check_model_name(name): _from_json(state) for name, state in reader(document).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(
            f"it is not a valid state file: {type(error).__name__}: {str(error)[:200]}"
        ) from None


def _models_of_1(document: dict[str, Any]) -> dict[str, Any]:
    """The states in a file of format 1, which has no checksum."""
    if document.keys() != {"format_version", "models"}:
        raise StateError("its fields are not those of format 1")
    return dict(document["models"])


def _models_of_2(document: dict[str, Any]) -> dict[str, Any]:
    if document["sha256"] != _checksum(document["models"]):
        raise StateError("its checksum does not match its content")
    return dict(document["models"])


_READERS = {1: _models_of_1, 2: _models_of_2}


def _checksum(models: dict[str, Any]) -> str:
    """SHA-256 of the states in canonical JSON, so that white space and order do not matter."""
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


def _from_json(data: dict[str, Any]) -> ModelState:
    return ModelState(
        routing=_routing_from_json(data["routing"]),
        history=tuple(map(_routing_from_json, data["history"][-MAX_HISTORY:])),
        # The keys are names of folders, which need not be valid versions.
        explicit={version: bool(wanted) for version, wanted in data["explicit"].items()},
    )


def _routing_from_json(data: dict[str, Any]) -> Routing:
    split = tuple((Version(version).text, _weight(weight)) for version, weight in data["split"])
    aliases = {
        check_model_name(alias, what="alias"): Version(version).text
        for alias, version in data["aliases"].items()
    }
    shadow = None
    if data["shadow"] is not None:
        version, share = data["shadow"]
        if not 0 < share <= 1:
            raise ValueError(f"a share is {share!r}")
        shadow = Shadow(Version(version).text, float(share))
    return Routing(split, aliases, shadow)


def _weight(weight: object) -> int:
    if not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
        raise ValueError(f"a weight is {weight!r}")
    return weight
