"""One run of a job: its process, its limits, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from scorewire_contract.service.logs import logger
from scorewire_gateway.jobs.folder import JobFolder
from scorewire_gateway.jobs.job import Job, JobState
from scorewire_gateway.jobs.limits import JobLimits
from scorewire_gateway.jobs.process import TrainingProcess, child_environment
from scorewire_gateway.jobs.request import JobRequest, training_command
from scorewire_gateway.jobs.results import LOG, collect

_SECONDS_BETWEEN_LOOKS = 0.25
_MAX_LOG_BYTES = 1 << 20
_MAX_NOTES = 100
_MAX_TEXT = 2_000
# What training libraries say when they get no memory, in the last lines of the log.
_SIGNS_OF_MEMORY = (
    "MemoryError",
    "bad_alloc",
    "memory does not suffice",
    "Cannot allocate",
    "can't allocate",
)
_LAST_LINES = 20
_KILLED = -9


class JobRun:
    """Runs a job once, and ends it: `run` sets the job's last state whatever happens.

    Args:
        job: the job, which waits.
        folder: the folder of all jobs.
        limits: what the job may take.
        variables: those variables of the gateway that its processes get.
    """

    def __init__(self, job: Job, folder: JobFolder, limits: JobLimits, variables: Mapping[str, str]) -> None:
        self._job = job
        self._folder = folder
        self._limits = limits
        self._environment = child_environment(variables, home=folder.home, temporary=folder.work(job))
        self._process: TrainingProcess | None = None
        self._told: dict[str, Any] | None = None
        self._ending: tuple[JobState, str, str] | None = None
        self._stage = ""

    def stop(self, state: JobState, *, reason: str = "", message: str = "") -> None:
        """End the run with this state; the first call decides."""
        self._ending = self._ending or (state, reason, message)
        if self._process is not None:
            self._process.kill()

    async def run(self) -> None:
        """Run the process to its end, and set the last state of the job."""
        job = self._job
        try:
            with (self._folder.files(job) / LOG).open("a", encoding="utf-8") as log:
                code = await self._follow(log)
            if self._ending is None and code == 0 and self._told is not None:
                job.result = await asyncio.to_thread(collect, self._folder, job, self._told)
                job.end(JobState.SUCCEEDED)
                return
            self._ending = self._ending or self._explain(code)
        except Exception as error:
            logger().error("a job failed by a fault of the gateway", job=job.id, exc_info=error)
            self._ending = (JobState.FAILED, "GATEWAY_FAILED", "the gateway failed; its log has the reason")
        state, reason, message = self._ending
        job.end(state, reason=reason, message=message)

    async def _follow(self, log: IO[str]) -> int:
        job, limits = self._job, self._limits
        request = JobRequest(kind=job.kind, model=job.model, settings=job.settings)
        command = training_command(request, job.file, memory_bytes=limits.memory_bytes)
        self._process = process = await TrainingProcess.start(
            command, folder=self._folder.work(job), environment=self._environment, limits=limits
        )
        watch = asyncio.create_task(self._watch(process))
        if self._ending is not None:
            process.kill()
        try:
            return await process.follow(
                lambda event: self._take(event, log), lambda text: self._write(text, log)
            )
        finally:
            watch.cancel()

    async def _watch(self, process: TrainingProcess) -> None:
        """Stop a job that takes too much."""
        limits, begin = self._limits, time.monotonic()
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if time.monotonic() - begin > limits.seconds:
                self._exceed("TIME_LIMIT", f"ran longer than {limits.seconds:g} seconds", "--jobs-seconds")
            if process.memory_bytes() > limits.memory_bytes:
                self._exceed_memory()
            used, free = await asyncio.to_thread(
                lambda: (self._folder.used_bytes(), self._folder.free_bytes())
            )
            if used > limits.disk_bytes:
                text = f"made the files of all jobs larger than {limits.disk_bytes >> 20:,} MB"
                self._exceed("DISK_LIMIT", text, "--jobs-disk-bytes")
            elif free < limits.free_bytes:
                text = f"left less than {limits.free_bytes >> 20:,} MB of the disk free"
                self._exceed("DISK_LIMIT", text, "--jobs-free-bytes")

    def _exceed(self, reason: str, what: str, option: str) -> None:
        message = f"the job {what}: upload a smaller table, or ask the operator for a larger {option}"
        self.stop(JobState.FAILED, reason=reason, message=message)

    def _exceed_memory(self) -> None:
        what = f"needed more memory than the {self._limits.memory_bytes >> 20:,} MB that it may take"
        self._exceed("MEMORY_LIMIT", what, "--jobs-memory-bytes")

    def _explain(self, code: int) -> tuple[JobState, str, str]:
        """Why the process ended without a result, of its own accord."""
        assert self._process is not None  # noqa: S101 - it has run
        last = list(self._job.log)[-_LAST_LINES:]
        if code == _KILLED or any(sign in line for sign in _SIGNS_OF_MEMORY for line in last):
            self._exceed_memory()
            assert self._ending is not None  # noqa: S101 - just set
            return self._ending
        if self._process.errors:
            return JobState.FAILED, "TRAINING_REFUSED", self._process.errors
        logger().error("a job failed by a fault of the training tool", job=self._job.id, code=code, last=last)
        return (
            JobState.FAILED,
            "TRAINING_FAILED",
            "the training tool failed; the log of the job has its last words",
        )

    def _take(self, event: Mapping[str, Any], log: IO[str]) -> None:
        """Take an event of the training tool."""
        job = self._job
        if event.get("event") == "stage":
            sentence = str(event.get("sentence"))[:_MAX_TEXT]
            job.stage = {"sentence": sentence, "done": event.get("done"), "total": event.get("total")}
            if event.get("name") != self._stage:
                self._stage = str(event.get("name"))
                self._write(sentence, log)
        elif event.get("event") == "table":
            for note in list(event.get("notes", ()))[: _MAX_NOTES - len(job.table)]:
                job.table.append({str(name): str(value)[:_MAX_TEXT] for name, value in note.items()})
        elif event.get("event") == "result":
            self._told = dict(event)
        job.tell()

    def _write(self, text: str, log: IO[str]) -> None:
        self._job.log.append(text)
        # A full disk ends the job elsewhere; its log need not be whole.
        with suppress(OSError):
            if log.tell() < _MAX_LOG_BYTES:
                log.write(f"{text}\n")
                log.flush()
        self._job.tell()
