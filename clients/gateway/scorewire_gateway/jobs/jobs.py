"""All jobs of a gateway: which wait, which run, and which have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from scorewire import Code
from scorewire_contract.bundle import BundleError
from scorewire_contract.service.logs import logger
from scorewire_gateway.errors import RequestError
from scorewire_gateway.jobs.folder import JobFolder
from scorewire_gateway.jobs.intake import Intake, check_size, check_space, disk_full
from scorewire_gateway.jobs.job import Job, JobState, now
from scorewire_gateway.jobs.limits import JobLimits
from scorewire_gateway.jobs.metrics import JobMetrics
from scorewire_gateway.jobs.request import TRAIN, JobRequest
from scorewire_gateway.jobs.results import list_files, publish
from scorewire_gateway.jobs.run import JobRun

# The version of a job that asks for none, as scorewire train has it.
_DEFAULT_VERSION = "1.0.0"
_STOPPED = "the gateway was stopped while the job ran: upload the table again"
_LOST = "the gateway ended while the job ran: upload the table again"


@dataclass(frozen=True, slots=True)
class _Running:
    run: JobRun
    task: asyncio.Task[None]


class Jobs:
    """Takes jobs, runs them in turn, and keeps what they leave; to be used from one event loop.

    Args:
        folder: the folder of all jobs, locked for this gateway.
        limits: the limits.
        metrics: counts what happens.
        variables: those variables of the gateway that its processes get.
        models: the folder that bundles may be published to; None for no such folder.
    """

    def __init__(
        self,
        folder: JobFolder,
        limits: JobLimits,
        metrics: JobMetrics,
        *,
        variables: Mapping[str, str],
        models: Path | None = None,
    ) -> None:
        self.limits = limits
        self.models = models
        self._folder = folder
        self._metrics = metrics
        self._variables = variables
        self._intake = Intake(folder, limits, variables)
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, _Running] = {}
        self._publishing = asyncio.Lock()
        self._unfinished: set[asyncio.Task[None]] = set()
        self._stopping = False

    def start(self) -> None:
        """Read the jobs of the folder, and go on with those that wait."""
        for job in self._folder.load():
            self._jobs[job.id] = job
            if job.state is JobState.RUNNING:
                # Its process has ended with the gateway that it belonged to.
                job.end(JobState.FAILED, reason="GATEWAY_STOPPED", message=_LOST)
                self._folder.finish(job)
                self._save(job)
        self._prune()
        self._go_on()

    async def stop(self) -> None:
        """End all jobs that run; those that wait go on when a gateway starts again."""
        self._stopping = True
        running = list(self._running.values())
        for each in running:
            each.run.stop(JobState.FAILED, reason="GATEWAY_STOPPED", message=_STOPPED)
        if tasks := [*(each.task for each in running), *self._unfinished]:
            await asyncio.wait(tasks)
        for job in self._jobs.values():
            # Whoever watches a job is told by the end of the answer.
            job.tell()
        self._folder.close()

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            RequestError: there is no such job.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(
                "there is no such job: GET /jobs lists all", code=Code.NOT_FOUND, reason="JOB_NOT_FOUND"
            )
        return job

    def describe(self, job: Job) -> dict[str, Any]:
        """A job with all details, its place among those that wait, and its files."""
        waiting = [each.id for each in self._jobs.values() if each.state is JobState.WAITING]
        position = waiting.index(job.id) + 1 if job.id in waiting else None
        return job.to_json() | {"position": position, "files": list_files(self._folder, job)}

    def files(self, job: Job) -> Path:
        """The folder of a job's files for download."""
        return self._folder.files(job)

    def check_room(self, length: int) -> None:
        """Check that a further job can be taken, before anything of it is read.

        Args:
            length: the bytes of the request, 0 if the client does not tell.

        Raises:
            RequestError: too many jobs wait, or the table is too large.
        """
        waiting = sum(job.state in (JobState.UPLOADING, JobState.WAITING) for job in self._jobs.values())
        if waiting >= self.limits.waiting:
            raise RequestError(
                f"{waiting} jobs wait already, the most that --jobs-waiting allows: try again later",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_JOBS",
                headers={"Retry-After": "30"},
                close=True,
            )
        check_size(length, self.limits)

    async def submit(
        self, request: JobRequest, name: str, pieces: AsyncIterator[bytes], *, length: int = 0
    ) -> Job:
        """Take a job: check its settings, write its table, and let it wait.

        Args:
            request: what is asked for.
            name: the name of the table.
            pieces: the bytes of the table, in any pieces.
            length: how many bytes the client has announced.

        Raises:
            RequestError: the job is refused, and nothing of it is kept.
        """
        try:
            return await self._submit(request, name, pieces, length)
        except RequestError as error:
            self._metrics.refused.labels(error.reason).inc()
            raise

    async def _submit(self, request: JobRequest, name: str, pieces: AsyncIterator[bytes], length: int) -> Job:
        self.check_room(length)
        if request.kind == TRAIN:
            self._require_new(request.model, str(request.settings.get("version", _DEFAULT_VERSION)))
        job = Job(
            id=self._folder.new_id(),
            kind=request.kind,
            model=request.model,
            settings=request.settings,
            file=name,
        )
        self._jobs[job.id] = job
        self._metrics.show(self._jobs.values())
        try:
            await asyncio.to_thread(check_space, self._folder, length, self.limits)
            self._folder.create(job)
            await self._intake.check(request)
            await self._intake.receive(job, pieces)
            job.state = JobState.WAITING
            self._folder.save(job)
        except BaseException as error:
            # Whatever happens, also when the client goes away, nothing of the job stays.
            self._forget(job)
            if isinstance(error, OSError):
                logger().error("a job cannot be written", job=job.id, error=str(error))
                raise disk_full("the gateway cannot write the job; its log has the reason") from None
            raise
        self._metrics.uploaded_bytes.inc(job.bytes)
        job.tell()
        self._go_on()
        return job

    async def cancel(self, job: Job) -> None:
        """End a job that has not ended.

        Raises:
            RequestError: the job has ended.
        """
        if job.state.has_ended:
            raise _precondition(f"the job has ended: it is {job.state}", "JOB_ENDED")
        if job.state is JobState.UPLOADING:
            # Its upload ends with the next block, and removes the job.
            job.deleted = True
            return
        running = self._running.get(job.id)
        if running is None:
            job.end(JobState.CANCELLED)
            self._ended(job)
            return
        running.run.stop(JobState.CANCELLED)
        await asyncio.wait([running.task])

    async def delete(self, job: Job) -> None:
        """Remove a job and its files; a job that has not ended is cancelled first."""
        await self._do_all(self._delete(job))

    async def _delete(self, job: Job) -> None:
        # Before its end, which would otherwise be the last event for those who follow it.
        job.deleted = True
        if not job.state.has_ended:
            await self.cancel(job)
        if job.state.has_ended:
            self._jobs.pop(job.id, None)
            job.tell()
            await asyncio.to_thread(self._folder.remove, job)
            self._metrics.show(self._jobs.values())

    async def publish(self, job: Job) -> None:
        """Copy the bundle of a job into the folder that a server watches.

        Raises:
            RequestError: the operator has given no such folder, the job has no bundle, or the version
                exists there.
        """
        if self.models is None:
            raise _precondition(
                "no bundles are published here: download it, or start the gateway with --jobs-models",
                "PUBLISHING_OFF",
            )
        if job.kind != TRAIN or job.state is not JobState.SUCCEEDED:
            raise _precondition("the job has no bundle: only a job that has trained has one", "NO_BUNDLE")
        await self._do_all(self._publish(job, self.models))

    async def _publish(self, job: Job, models: Path) -> None:
        async with self._publishing:
            self._require_new(job.model, str((job.result or {})["version"]))
            try:
                await asyncio.to_thread(publish, self._folder, job, models)
            except (BundleError, OSError) as error:
                logger().error("a bundle cannot be published", job=job.id, error=str(error))
                raise RequestError(
                    "the bundle cannot be published; the gateway's log has the reason",
                    code=Code.INTERNAL,
                    reason="NOT_PUBLISHED",
                ) from None
        job.published = True
        logger().info("a bundle is published", job=job.id, model=job.model, models=str(models))
        self._save(job)
        job.tell()

    async def _do_all(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not be left half done when the client that asks for it leaves."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        await asyncio.shield(task)

    def _require_new(self, model: str, version: str) -> None:
        """Check that the folder of published bundles does not have a version yet."""
        # A name with a slash is no version; the check of the settings says so.
        if self.models is None or "/" in version or not (self.models / model / version).exists():
            return
        raise RequestError(
            f"version {version} of {model} exists and never changes: choose another version",
            code=Code.ALREADY_EXISTS,
            reason="VERSION_EXISTS",
        )

    def _go_on(self) -> None:
        """Run jobs that wait, the oldest first, as far as the limit allows."""
        for job in self._jobs.values():
            if self._stopping or len(self._running) >= self.limits.running:
                break
            if job.state is JobState.WAITING:
                run = JobRun(job, self._folder, self.limits, self._variables)
                job.state, job.started_at = JobState.RUNNING, now()
                self._running[job.id] = _Running(run, asyncio.create_task(self._run(job, run)))
                self._save(job)
                job.tell()
        self._metrics.show(self._jobs.values())

    async def _run(self, job: Job, run: JobRun) -> None:
        try:
            await run.run()
        finally:
            del self._running[job.id]
            if not job.state.has_ended:
                job.end(JobState.FAILED, reason="GATEWAY_FAILED", message="the gateway failed")
            self._ended(job)

    def _ended(self, job: Job) -> None:
        self._folder.finish(job)
        self._save(job)
        self._metrics.ended.labels(job.kind, job.model, str(job.state)).inc()
        if job.started_at and job.ended_at:
            time = datetime.fromisoformat(job.ended_at) - datetime.fromisoformat(job.started_at)
            self._metrics.seconds.labels(job.kind, job.model).observe(time.total_seconds())
        self._metrics.disk_bytes.set(self._folder.used_bytes())
        # Not the error's text, which may have values of the table.
        reason = job.error["reason"] if job.error else None
        logger().info("a job has ended", job=job.id, model=job.model, state=str(job.state), reason=reason)
        self._prune()
        self._go_on()

    def _prune(self) -> None:
        """Remove the oldest of the jobs that have ended, beyond those that are kept."""
        ended = sorted(
            (job for job in self._jobs.values() if job.state.has_ended), key=lambda job: job.ended_at or ""
        )
        for job in ended[: max(0, len(ended) - self.limits.kept)]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        job.deleted = True
        self._folder.remove(job)
        job.tell()
        self._metrics.show(self._jobs.values())

    def _save(self, job: Job) -> None:
        try:
            self._folder.save(job)
        except OSError as error:
            # The job goes on; only a restart would not know of the change.
            logger().error("the state of a job cannot be written", job=job.id, error=str(error))


def _precondition(message: str, reason: str) -> RequestError:
    return RequestError(message, code=Code.FAILED_PRECONDITION, reason=reason)
