"""Follows files that are edited in place, renamed into place or linked anew while the server runs."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from scorewire_contract.service.logs import log_fault
from scorewire_server.access.tables import AccessError

Value = TypeVar("Value")
_Signature: TypeAlias = tuple[tuple[int, ...], ...]
# A file that was changed this lately may be changed again without a change of its times: file systems count
# in steps of up to two seconds.
_COARSE_NS = 2_500_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is followed, and its most bytes."""

    path: Path
    max_bytes: int


class Followed(Generic[Value]):
    """What one or several files say; files that cannot be used change nothing.

    New contents are used once two looks have found the same: an editor or `cp` may be
    writing them, and half of a file may be valid.

    Attributes:
        value: what the files said when they were last in order; before that, `initial`.
        problem: why the contents of now cannot be used; "" if they are in use.
        confirmed: a time of `clock`: when the files were last found to say `value`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        parse: Callable[[Sequence[bytes]], Value],
        initial: Value,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._parse = parse
        self._clock = clock
        # What tells, without a read, that the files are as they were at the last look; None if nothing does.
        self._signature: _Signature | None = None
        # A hash of the contents, or the reason why they cannot be read: of the last look, and of `value`.
        self._seen: bytes | str = b""
        self._used: bytes | str = b""
        self.value = initial
        self.problem = ""
        self.confirmed = -inf

    def start(self) -> None:
        """Read the files, and use at once what they say.

        Raises:
            AccessError: the files cannot be used.
        """
        self._seen, contents = self._read()
        self._use(self._seen, contents)

    def look(self) -> bool:
        """Look at the files, and read them if they may have changed; whether there is a new `value`."""
        contents: tuple[bytes, ...] = ()
        found: bytes | str
        try:
            if self._signature is not None and self._sign() == self._signature:
                if not self.problem:
                    self.confirmed = self._clock()
                return False
            found, contents = self._read()
        except AccessError as error:
            found, self._signature = str(error), None
        seen, self._seen = self._seen, found
        if found == self._used:
            self.problem, self.confirmed = "", self._clock()
            return False
        if found != seen:
            # To be read again at the next look.
            self._signature = None
            return False
        if isinstance(found, str):
            self.problem = found
            return False
        try:
            self._use(found, contents)
        except AccessError as error:
            self.problem = str(error)
            return False
        return True

    def _use(self, digest: bytes | str, contents: Sequence[bytes]) -> None:
        try:
            self.value = self._parse(contents)
        except AccessError:
            raise
        except Exception as error:
            # A fault of ours, or of a library, must not end the looks at this file and at others.
            log_fault("followed file", error)
            raise AccessError(f"it cannot be read: {type(error).__name__}") from None
        self._used, self.problem, self.confirmed = digest, "", self._clock()

    def _sign(self) -> _Signature:
        signatures = []
        for source in self._sources:
            try:
                found = source.path.stat()
            except (OSError, ValueError) as error:
                raise AccessError(f"{source.path} cannot be read: {_reason(error)}") from None
            signatures.append(
                (found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino, found.st_size)
            )
        return tuple(signatures)

    def _read(self) -> tuple[bytes, tuple[bytes, ...]]:
        """A hash of the contents of the files, and the contents."""
        settled = time.time_ns() - _COARSE_NS
        signature = self._sign()
        contents = tuple(read_file(source) for source in self._sources)
        kept = all(max(each[:2]) < settled for each in signature) and self._sign() == signature
        self._signature = signature if kept else None
        return sha256(b"".join(sha256(content).digest() for content in contents)).digest(), contents


def read_file(source: Source) -> bytes:
    """The content of a file; never waits for a pipe.

    Raises:
        AccessError: the file cannot be read, is no file, or is too large.
    """
    path = source.path
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise AccessError(f"{path} is no file")
            content = file.read(source.max_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, AccessError):
            raise
        raise AccessError(f"{path} cannot be read: {_reason(error)}") from None
    if len(content) > source.max_bytes:
        raise AccessError(f"{path} has more than {source.max_bytes} bytes")
    return content


def _reason(error: OSError | ValueError) -> str:
    """What the system says; a path with a null character has an error of Python."""
    return str(error) if isinstance(error, ValueError) else error.strerror or type(error).__name__
