"""The SHA-256 of files, computed once for each version of a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict

from scorewire_gateway.files.folder import FileVersion, OpenFile

_MAX_REMEMBERED = 4096
_AT_ONE_TIME = 2
_PIECE_BYTES = 1 << 20
# A file that was changed a moment ago may change again without another time.
_FRESH_NS = 2_000_000_000


class Digests:
    """Digests of the files of one gateway; for one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[FileVersion, bytes] = OrderedDict()
        self._running: dict[FileVersion, asyncio.Task[bytes | None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONE_TIME)
        self.computed = 0

    async def of(self, file: OpenFile) -> bytes | None:
        """The digest of a file; None if the file changes meanwhile."""
        version = file.version
        known = self._known.get(version)
        if known is not None:
            self._known.move_to_end(version)
            return known
        task = self._running.get(version)
        if task is None:
            task = asyncio.create_task(self._compute(file.again()), name="digest")
            self._running[version] = task
            task.add_done_callback(lambda _: self._running.pop(version))
        # Others may wait for it, too, when this request is cancelled.
        return await asyncio.shield(task)

    async def _compute(self, file: OpenFile) -> bytes | None:
        with file:
            async with self._turns:
                self.computed += 1
                digest = await asyncio.to_thread(_sha256, file)
            if file.current() != file.version:
                return None
            if time.time_ns() - max(file.version.modified_ns, file.version.changed_ns) > _FRESH_NS:
                self._known[file.version] = digest
                if len(self._known) > _MAX_REMEMBERED:
                    self._known.popitem(last=False)
            return digest


def _sha256(file: OpenFile) -> bytes:
    digest = hashlib.sha256()
    position = 0
    while position < file.size:
        piece = os.pread(file.descriptor, min(_PIECE_BYTES, file.size - position), position)
        if not piece:
            break  # it has become shorter, as its version will tell
        digest.update(piece)
        position += len(piece)
    return digest.digest()
