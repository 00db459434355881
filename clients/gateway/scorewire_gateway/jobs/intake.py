"""Takes a job's table: the checks before it, and its way to the disk."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

from scorewire import Code
from scorewire_gateway.errors import RequestError
from scorewire_gateway.jobs.folder import JobFolder
from scorewire_gateway.jobs.job import Job
from scorewire_gateway.jobs.limits import JobLimits
from scorewire_gateway.jobs.process import check_settings, child_environment
from scorewire_gateway.jobs.request import JobRequest, check_command

_BLOCK_BYTES = 1 << 20
_BYTES_BETWEEN_LOOKS = 16 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_size(length: int, limits: JobLimits) -> None:
    """Check the size of a table.

    Raises:
        RequestError: the table is larger than the limit.
    """
    if length > limits.upload_bytes:
        raise RequestError(
            f"the table has more than the {limits.upload_bytes:,} bytes that --max-upload-bytes allows",
            code=Code.RESOURCE_EXHAUSTED,
            reason="UPLOAD_TOO_LARGE",
            http_code=413,
            close=True,
        )


def check_space(folder: JobFolder, length: int, limits: JobLimits) -> None:
    """Check that there is room for more bytes; to be called in a thread.

    Raises:
        RequestError: the files of all jobs would be larger than the limit, or too little of the disk would
            stay free.
    """
    if folder.used_bytes() + length > limits.disk_bytes:
        raise disk_full(
            f"all jobs may take {limits.disk_bytes >> 20:,} MB of the disk: delete jobs that have ended"
        )
    if folder.free_bytes() - length < limits.free_bytes:
        raise disk_full("the disk of the gateway has too little free space: delete jobs that have ended")


def disk_full(message: str) -> RequestError:
    """The refusal of a table for which there is no room."""
    return RequestError(message, code=Code.RESOURCE_EXHAUSTED, reason="DISK_FULL", http_code=507, close=True)


class Intake:
    """Checks settings and writes tables, both for jobs whose folder exists.

    Args:
        folder: the folder of all jobs.
        limits: the limits.
        variables: those variables of the gateway that its processes get.
    """

    def __init__(self, folder: JobFolder, limits: JobLimits, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._limits = limits
        self._environment = child_environment(variables, home=folder.home, temporary=folder.home)
        self._one_check = asyncio.Semaphore(1)

    async def check(self, request: JobRequest) -> None:
        """Check the settings of a request by the training tool's own code.

        Raises:
            RequestError: a setting has a value that the tool does not take.
        """
        if not request.settings:
            return
        async with self._one_check:
            wrong = await check_settings(
                check_command(request),
                folder=self._folder.home,
                environment=self._environment,
                limits=self._limits,
            )
        if wrong:
            raise RequestError(wrong, reason="INVALID_SETTING", close=True)

    async def receive(self, job: Job, pieces: AsyncIterator[bytes]) -> None:
        """Write the table of a job; once this returns, it is on the disk.

        Raises:
            RequestError: the table is empty or too large, there is no room for it, or the job was deleted
                meanwhile.
        """
        digest = hashlib.sha256()
        path = self._folder.table(job)
        try:
            with _create(path) as file:
                looked = 0
                async for block in _blocks(pieces):
                    check_size(job.bytes + len(block), self._limits)
                    if job.bytes - looked >= _BYTES_BETWEEN_LOOKS:
                        looked = job.bytes
                        await asyncio.to_thread(check_space, self._folder, len(block), self._limits)
                    _check_kept(job)
                    digest.update(block)
                    await asyncio.to_thread(file.write, block)
                    job.bytes += len(block)
                    job.tell()
                await asyncio.to_thread(_sync, file)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise disk_full("the disk of the gateway is full") from None
            raise
        if not job.bytes:
            raise RequestError(
                "the body is empty: send the table, a CSV or Parquet file", reason="EMPTY_TABLE"
            )
        _check_kept(job)
        job.sha256 = digest.hexdigest()


def _check_kept(job: Job) -> None:
    if job.deleted:
        raise RequestError("the job was deleted", code=Code.CANCELLED, reason="JOB_DELETED", close=True)


def _create(path: Path) -> BinaryIO:
    """A new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body, joined to blocks that are worth a call of the system."""
    block = bytearray()
    async for piece in pieces:
        block += piece
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
