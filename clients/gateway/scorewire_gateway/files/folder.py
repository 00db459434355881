"""Opens files within a folder, and nothing outside it.

A path is followed name by name from the folder's descriptor, and a symbolic link is
never followed. So there is no moment between a check and its use: whoever may change
the folder cannot lead out of it. Names that begin with a dot are hidden, and what is
neither a file nor a folder is not there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

MAX_ENTRIES = 1000
# A listing reads this many names at most, and then gives the first of them.
_MAX_READ = 20_000
_MAX_DEPTH = 32
_FIRST, _LAST = (datetime(year, 1, 2, tzinfo=UTC).timestamp() for year in (1, 9999))
_PATH = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW


class AbsentError(Exception):
    """There is no such file or folder, or it is not one to be shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a listing.

    Attributes:
        name: its name.
        is_folder: whether it is a folder.
        size: bytes of a file; 0 for a folder.
        modified: when it was changed last, in UTC.
    """

    name: str
    is_folder: bool
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a folder, by name; `truncated` if there are more."""

    entries: tuple[Entry, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class FileVersion:
    """What tells one content of a file from another one, without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class OpenFile:
    """A file that is open for reading; to be closed.

    Attributes:
        name: its name.
        descriptor: its descriptor.
        version: the version of its content when it was opened.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.version = self.current()

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.version.size

    @property
    def modified(self) -> datetime:
        """When the content was changed last, in UTC."""
        return _moment(self.version.modified_ns)

    def current(self) -> FileVersion:
        """The version of the content now."""
        found = os.fstat(self.descriptor)
        return FileVersion(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def again(self) -> OpenFile:
        """The same file once more, to be closed on its own."""
        return OpenFile(self.name, os.dup(self.descriptor))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Folder:
    """A folder whose files may be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, names: Sequence[str]) -> OpenFile | Listing:
        """Open a file, or list a folder.

        Args:
            names: the path from this folder, name by name; empty for the folder itself.

        Raises:
            AbsentError: there is no such file or folder.
        """
        try:
            with self._found(names) as descriptor:
                mode = os.fstat(descriptor).st_mode
                # By the descriptor, so that this is what was looked at.
                again = f"/proc/self/fd/{descriptor}"
                if stat.S_ISREG(mode):
                    return OpenFile(names[-1], os.open(again, os.O_RDONLY | os.O_CLOEXEC))
                if stat.S_ISDIR(mode):
                    folder = os.open(again, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    try:
                        return _listing(folder)
                    finally:
                        os.close(folder)
        except (OSError, ValueError) as error:
            # What is not there, may not be read, or is no name for the system, such as one with a null.
            raise AbsentError from error
        raise AbsentError

    @contextmanager
    def _found(self, names: Sequence[str]) -> Iterator[int]:
        if len(names) > _MAX_DEPTH or not all(map(is_shown, names)):
            raise AbsentError
        descriptor = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                inner = os.open(name, _PATH, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def is_shown(name: str) -> bool:
    """Whether a file of this name may be shown: it is a name, in Unicode, and not hidden."""
    return bool(name) and not name.startswith(".") and "/" not in name and not _has_surrogates(name)


def _has_surrogates(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def _moment(nanoseconds: int) -> datetime:
    """A time of a file; a file system may have some that a datetime cannot have."""
    return datetime.fromtimestamp(min(max(nanoseconds / 1e9, _FIRST), _LAST), UTC)


def _listing(descriptor: int) -> Listing:
    found: list[Entry] = []
    truncated = False
    with os.scandir(descriptor) as entries:
        for count, entry in enumerate(entries):
            if count == _MAX_READ:
                truncated = True
                break
            if not is_shown(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # it has gone meanwhile
            is_folder = stat.S_ISDIR(status.st_mode)
            if is_folder or stat.S_ISREG(status.st_mode):
                size = 0 if is_folder else status.st_size
                found.append(Entry(entry.name, is_folder, size, _moment(status.st_mtime_ns)))
    found.sort(key=lambda each: each.name)
    return Listing(tuple(found[:MAX_ENTRIES]), truncated or len(found) > MAX_ENTRIES)
