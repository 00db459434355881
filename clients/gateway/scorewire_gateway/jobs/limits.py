"""How much jobs may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """The bounds of jobs.

    Attributes:
        running: the most jobs that run at one time.
        waiting: the most jobs that wait or are uploaded.
        kept: the most jobs that have ended; the oldest ones are deleted.
        upload_bytes: the most bytes of a table.
        disk_bytes: the most bytes of all files of all jobs.
        free_bytes: the bytes of the disk that stay free.
        memory_bytes: the most memory of a job.
        niceness: how far a job stands back for other processes, 0 to 19.
        seconds: the longest time that a job runs.
    """

    running: int = 1
    waiting: int = 8
    kept: int = 50
    upload_bytes: int = 256 << 20
    disk_bytes: int = 10 << 30
    free_bytes: int = 1 << 30
    memory_bytes: int = 4 << 30
    niceness: int = 10
    seconds: float = 6 * 3600.0
