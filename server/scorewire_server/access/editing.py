"""Changes the API keys of an access file, and leaves its comments and its form as they are."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from scorewire_contract.service import durable
from scorewire_contract.service.file_lock import FileLock, LockedError
from scorewire_server.access.access_file import MAX_FILE_BYTES, AccessFile, parse_access_file
from scorewire_server.access.followed import Source, read_file
from scorewire_server.access.keys import ApiKey, make_key
from scorewire_server.access.tables import AccessError
from scorewire_server.engine.access import Right

_HEADER = b"""\
# Who may call. A server with --access and this file reads the file again when it changes.
# Keys are not in here, only their hashes: `scorewire keys new` makes a key.

"""
# The file has no secret, and the server may run as another user of the group.
_MODE = 0o640
_LOCK_SECONDS = 10.0
_SECONDS_BETWEEN_TRIES = 0.05


def read_access_file(path: Path) -> AccessFile:
    """Read an access file as the server does.

    Raises:
        AccessError: the file cannot be used.
    """
    return parse_access_file(read_file(Source(path, MAX_FILE_BYTES)), path)


def add_key(path: Path, name: str, rights: Mapping[Right, Sequence[str]], expires: datetime | None) -> ApiKey:
    """Make a key for a principal, and the principal if it is new.

    Args:
        path: the access file, which is made if need be.
        name: the principal.
        rights: the patterns of models of a new principal; empty for one that exists.
        expires: when the key expires, a whole second with a zone; None is never.

    Raises:
        AccessError: the file cannot be used or changed, or the rights are missing or too many.
    """
    with _changing(path) as edit:
        known = name in edit.before.table.principals
        if known and rights:
            raise AccessError(
                f"{name} exists, and its rights are in {path}: change them there, and make a further key"
                " without the options for rights"
            )
        if not known and not rights:
            raise AccessError(
                f"{name} is new, so say what it may do, such as --predict '*' for predictions of all models"
            )
        key = make_key(edit.before.key_ids)

        def change(document: Any) -> None:
            principals = document.setdefault("principals", tomlkit.table(is_super_table=True))
            if not known:
                principals[name] = tomlkit.table()
                for right, patterns in rights.items():
                    principals[name][right.value] = list(patterns)
                principals[name].add(tomlkit.nl())
            entry = tomlkit.table()
            entry["id"] = key.id
            entry["sha256"] = key.sha256
            if expires is not None:
                entry["expires"] = expires
            entry.add(tomlkit.nl())
            principals[name].setdefault("keys", tomlkit.aot()).append(entry)

        edit.apply(change, {**edit.before.key_ids, key.id: bytes.fromhex(key.sha256)})
    return key


def remove_key(path: Path, key_id: str) -> str:
    """Remove a key from the file; returns the principal that had it, which stays.

    Raises:
        AccessError: the file cannot be used or changed, or has no such key.
    """
    with _changing(path) as edit:
        before = edit.before
        digest = before.key_ids.get(key_id)
        if digest is None:
            raise AccessError(f"{path} has no key {key_id}; `scorewire keys list` shows its keys")
        name = before.table.keys[digest].principal.name

        def change(document: Any) -> None:
            principal = document["principals"][name]
            keys = principal["keys"]
            del keys[[each["id"] for each in keys].index(key_id)]
            if not keys:
                del principal["keys"]

        edit.apply(change, {known: each for known, each in before.key_ids.items() if known != key_id})
    return name


@dataclass(frozen=True, slots=True)
class _Edit:
    """A change of a file that nobody else changes meanwhile.

    Attributes:
        path: the file, not a link.
        text: its content.
        before: what it says.
    """

    path: Path
    text: bytes
    before: AccessFile

    def apply(self, change: Callable[[Any], None], keys: Mapping[str, bytes]) -> None:
        """Change the file.

        Args:
            change: changes the document of tomlkit.
            keys: the keys that the file must have then, by their ids; all else must stay as it was.

        Raises:
            AccessError: the file cannot be changed in this way; it is as it was.
        """
        try:
            document = tomlkit.parse(self.text)
            change(document)
            text = tomlkit.dumps(document).encode()
        except (TOMLKitError, ValueError, TypeError, LookupError, AttributeError):
            raise AccessError(self._unusual) from None
        try:
            after = parse_access_file(text, self.path)
        except AccessError as error:
            raise AccessError(f"nothing was changed, since it would not be valid: {error}") from None
        if not _same(self.before, after) or after.key_ids != keys:
            raise AccessError(self._unusual)
        try:
            _write(self.path, text)
        except OSError as error:
            raise AccessError(f"{self.path} cannot be written: {error.strerror}") from None

    @property
    def _unusual(self) -> str:
        return (
            f"{self.path} is written in a way that this command cannot change; write each principal as a"
            " table of its own, [principals.NAME], and each key as [[principals.NAME.keys]]"
        )


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[_Edit]:
    path = path.resolve()
    try:
        lock = _lock(path.with_name(f".{path.name}.lock"))
    except OSError as error:
        raise AccessError(f"{path} cannot be changed: {error.strerror}: {error.filename}") from None
    try:
        text = read_file(Source(path, MAX_FILE_BYTES)) if path.exists() else _HEADER
        yield _Edit(path, text, parse_access_file(text, path))
    finally:
        lock.release()


def _lock(path: Path) -> FileLock:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return FileLock(path)
        except LockedError as error:
            if time.monotonic() > end:
                raise AccessError(f"{error} changes the file, too; try again once it has ended") from None
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _same(before: AccessFile, after: AccessFile) -> bool:
    """Whether all principals, keys and issuers of before are there, and as they were."""
    old, new = before.table, after.table
    grants = {digest: grant for digest, grant in old.keys.items() if digest in new.keys}
    return (
        new.principals == {**new.principals, **old.principals}
        and new.keys == {**new.keys, **grants}
        and (old.failures, before.open, before.issuers) == (new.failures, after.open, after.issuers)
    )


def _write(path: Path, text: bytes) -> None:
    """Put a file in place; it keeps its mode, and its owner if that is possible."""
    temporary = durable.temporary_of(path)
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(temporary, "wb", opener=lambda name, _: os.open(name, flags, _MODE)) as file:
        file.write(text)
        if path.exists():
            was = path.stat()
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), was.st_mode & 0o777)
    durable.publish({temporary: path})
