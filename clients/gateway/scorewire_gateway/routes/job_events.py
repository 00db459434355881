"""Server-sent events of a job: the whole job at each change."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scorewire import Code, ScorewireError
from scorewire_gateway.errors import RequestError
from scorewire_gateway.jobs.job import Job
from scorewire_gateway.jobs.jobs import Jobs
from scorewire_gateway.state import State

_MAX_WATCHERS = 64
_SECONDS_BETWEEN_EVENTS = 0.25
_SECONDS_BETWEEN_SIGNS_OF_LIFE = 15
# How often the server is asked again whether the client may still follow the job.
_SECONDS_BETWEEN_CHECKS = 2.0
_RETRY_MS = 2_000


class JobEvents:
    """Tells changes of jobs as server-sent events, to a bounded number of clients."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._count = 0
        # The revisions of another run of the gateway are others.
        self._run = secrets.token_hex(4)

    async def answer(self, jobs: Jobs, job_id: str, request: Request) -> Response:
        """The events of a job after the last one that the client has seen.

        Raises:
            ScorewireError: the server refuses the caller.
            RequestError: the request is refused.
        """
        await self._state.guard.rights(request)
        job, last_event = jobs.get(job_id), request.headers.get("last-event-id", "")
        if job.state.has_ended and last_event == self._id(job):
            # This ends the attempts of a browser to connect again.
            return Response(status_code=204)
        if self._count >= _MAX_WATCHERS:
            raise RequestError(
                f"{self._count} clients follow jobs already: ask GET /jobs/{job.id} from time to time",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_WATCHERS",
            )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._events(jobs, job, last_event, request), media_type="text/event-stream", headers=headers
        )

    async def _events(self, jobs: Jobs, job: Job, seen: str, request: Request) -> AsyncIterator[bytes]:
        self._count += 1
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            silent = 0
            checked = monotonic()
            while not self._state.draining:
                if monotonic() - checked >= _SECONDS_BETWEEN_CHECKS:
                    try:
                        await self._state.guard.rights(request)
                    except (ScorewireError, RequestError):
                        # The client learns why when it connects again.
                        return
                    checked = monotonic()
                changed = job.changed
                if job.deleted:
                    yield _event("deleted", self._id(job), {"id": job.id})
                    return
                if seen != self._id(job):
                    seen, silent = self._id(job), 0
                    yield _event("job", seen, jobs.describe(job))
                    if job.state.has_ended:
                        return
                    # Many changes at one time are one event.
                    await asyncio.sleep(_SECONDS_BETWEEN_EVENTS)
                    continue
                try:
                    async with asyncio.timeout(1):
                        await changed.wait()
                except TimeoutError:
                    silent += 1
                    if silent % _SECONDS_BETWEEN_SIGNS_OF_LIFE == 0:
                        yield b": the job goes on\n\n"
        finally:
            self._count -= 1

    def _id(self, job: Job) -> str:
        return f"{self._run}-{job.revision}"


def _event(name: str, event_id: str, content: dict[str, Any]) -> bytes:
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"id: {event_id}\nevent: {name}\ndata: {data}\n\n".encode()
