"""A file of lines that only grows, and has each line on the disk once `append` returns."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scorewire_contract.service import durable
from scorewire_contract.service.start import StartError

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
# For the group that collects logs; not for all users, since the lines name principals and addresses.
_MODE = 0o640


class AuditFile:
    """Appends lines; to be used from one thread at a time.

    Each line is one write at the end of the file, so other processes may append too. If the
    file was renamed or removed, as rotation does, the next line begins a new file.

    Raises:
        StartError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        # Whether the file ends in the middle of a line.
        self._torn = False
        try:
            self._open()
        except OSError as error:
            raise StartError(f"--audit {path} cannot be written: {error.strerror or error}") from None

    def append(self, line: bytes) -> None:
        """Append a line, given without its end.

        Raises:
            OSError: the line is not known to be on the disk.
        """
        try:
            if self._descriptor < 0 or self._is_another():
                self._open()
            data = b"%s%s\n" % (b"\n" if self._torn else b"", line)
            written = os.write(self._descriptor, data)
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes of a line could be written")
            self._torn = False
            os.fsync(self._descriptor)
        except OSError:
            # The next line looks again at what is there.
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self.close()
        # A device or a pipe cannot hold what was written to it. One that is opened must not wait, either.
        descriptor = os.open(self._path, _FLAGS | os.O_NONBLOCK, _MODE)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            # A server that was killed may have left half a line.
            self._torn = status.st_size > 0 and os.pread(descriptor, 1, status.st_size - 1) != b"\n"
            durable.sync_folders([self._path])
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _is_another(self) -> bool:
        """Whether the path does not name the open file any more."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True
