"""Training jobs: upload a table, follow the job, and fetch what comes of it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code, ScorewireError
from scorewire.tables import in_thread
from scorewire_gateway.errors import RequestError, json_response, unread
from scorewire_gateway.files.answering import answer_file
from scorewire_gateway.files.digests import Digests
from scorewire_gateway.files.folder import AbsentError, Folder, OpenFile
from scorewire_gateway.guard import Rights
from scorewire_gateway.jobs.job import Job
from scorewire_gateway.jobs.jobs import Jobs
from scorewire_gateway.jobs.request import JobRequest, read_request, table_name
from scorewire_gateway.limits import read_pieces
from scorewire_gateway.routes.job_events import JobEvents
from scorewire_gateway.routes.jobs_openapi import EVENTS, SUBMIT
from scorewire_gateway.security import check_origin
from scorewire_gateway.state import State
from scorewire_gateway.uploads.form import read_form

_FORM = "multipart/form-data"
# The name of a table without one, by media type. A page of another origin cannot send these types unasked.
_TABLES = {
    "text/csv": "data.csv",
    "application/vnd.apache.parquet": "data.parquet",
    "application/octet-stream": "",
}
# What a form has beside its file.
_FORM_BYTES = 128 << 10
# A table that is too large is refused by the job, with a text about tables, before it is this much larger.
_MARGIN_BYTES = 4 << 20


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["jobs"], include_in_schema=state.jobs is not None)
    if state.jobs is not None:
        state.parts.append("jobs")
    followed = JobEvents(state)
    digests = Digests()

    @routes.post(
        "/jobs", summary="Train a model, or make features", response_model=None, openapi_extra=SUBMIT
    )
    async def submit(request: Request) -> Response:
        """Upload a table as CSV or Parquet, as the body or as the part `file` of a form.

        The job is checked and waits; `GET /jobs/{id}` tells how far it is.
        """
        jobs = _jobs(state)
        try:
            check_origin(request, state.settings)
            # Before anything of a table is read.
            rights = await state.guard.rights(request)
            job = await _submit(jobs, request, state, rights)
        except ScorewireError as error:
            raise unread(error) from error
        except RequestError as error:
            # The rest of the body is not read.
            error.headers.setdefault("Connection", "close")
            raise
        # Relative, so that it also holds behind a proxy that serves the gateway under a path of its own.
        return json_response({"job": jobs.describe(job)}, 202, {"Location": f"jobs/{job.id}"})

    @routes.get("/jobs", summary="All jobs", response_model=None)
    async def list_jobs(request: Request) -> Response:
        """The jobs, the newest first, without their results; and the limits of jobs."""
        jobs = _jobs(state)
        await state.guard.rights(request)
        limits = jobs.limits
        told = {
            "running": limits.running,
            "waiting": limits.waiting,
            "kept": limits.kept,
            "upload_bytes": limits.upload_bytes,
            "memory_bytes": limits.memory_bytes,
            "seconds": limits.seconds,
        }
        return json_response(
            {
                "jobs": [job.to_json(details=False) for job in jobs.all()],
                "limits": told,
                "publishing": jobs.models is not None,
            }
        )

    @routes.get("/jobs/{job_id}", summary="One job", response_model=None)
    async def get_job(job_id: str, request: Request) -> Response:
        """The state of a job, how far it is, the last lines of its log, its result, and its files."""
        jobs = _jobs(state)
        await state.guard.rights(request)
        return json_response({"job": jobs.describe(jobs.get(job_id))})

    @routes.get("/jobs/{job_id}/events", summary="Follow one job", response_model=None, openapi_extra=EVENTS)
    async def events(job_id: str, request: Request) -> Response:
        """Server-sent events: the whole job at each change, until it has ended."""
        jobs = _jobs(state)
        return await followed.answer(jobs, job_id, request)

    @routes.post("/jobs/{job_id}:cancel", summary="Cancel a job", response_model=None)
    async def cancel(job_id: str, request: Request) -> Response:
        """End a job that waits or runs; it stays in the list."""
        jobs, job = await _changeable(state, job_id, request)
        await jobs.cancel(job)
        return json_response({"job": jobs.describe(job)})

    @routes.post("/jobs/{job_id}:publish", summary="Publish the bundle of a job", response_model=None)
    async def publish(job_id: str, request: Request) -> Response:
        """Put the bundle into the folder of models that the operator has given for it."""
        jobs, job = await _changeable(state, job_id, request)
        await jobs.publish(job)
        return json_response({"job": jobs.describe(job)})

    @routes.delete("/jobs/{job_id}", summary="Delete a job", response_model=None)
    async def delete(job_id: str, request: Request) -> Response:
        """Remove a job and its files; a job that has not ended is cancelled first."""
        jobs, job = await _changeable(state, job_id, request)
        await jobs.delete(job)
        return Response(status_code=204)

    @routes.head("/jobs/{job_id}/files/{name}", include_in_schema=False, response_model=None)
    @routes.get("/jobs/{job_id}/files/{name}", summary="Download a file of a job", response_model=None)
    async def file(request: Request, job_id: str, name: str) -> Response:
        """A file of a job, or a range of it: its report, its bundle, its features, its log and others."""
        jobs = _jobs(state)
        await state.guard.rights(request)
        found = await in_thread(_open_file, jobs, job_id, name, discard=OpenFile.close)
        return await answer_file(request, found, digests)

    return routes


async def _changeable(state: State, job_id: str, request: Request) -> tuple[Jobs, Job]:
    """The job that a request may change."""
    check_origin(request, state.settings)
    jobs = _jobs(state)
    rights = await state.guard.rights(request)
    job = jobs.get(job_id)
    rights.check("control", job.model)
    return jobs, job


def _jobs(state: State) -> Jobs:
    if state.jobs is None:
        raise RequestError(
            "training jobs are off: start the gateway with --jobs and a folder for them",
            code=Code.NOT_FOUND,
            reason="JOBS_OFF",
        )
    return state.jobs


def _open_file(jobs: Jobs, job_id: str, name: str) -> OpenFile:
    try:
        found = Folder(jobs.files(jobs.get(job_id))).open([name])
    except AbsentError:
        found = None
    if not isinstance(found, OpenFile):
        raise RequestError(
            "the job has no such file: its key `files` lists all",
            code=Code.NOT_FOUND,
            reason="FILE_NOT_FOUND",
        )
    return found


async def _submit(jobs: Jobs, request: Request, state: State, rights: Rights) -> Job:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM and media_type not in _TABLES:
        raise RequestError(
            f"the Content-Type of a table is {', '.join(_TABLES)} or {_FORM}",
            reason="UNSUPPORTED_MEDIA_TYPE",
            http_code=415,
        )
    most = jobs.limits.upload_bytes + _MARGIN_BYTES
    length = max(0, _announced(request) - (_FORM_BYTES if media_type == _FORM else 0))
    jobs.check_room(length)
    parameters = request.query_params.multi_items()
    pieces = read_pieces(request, max_bytes=most, max_stall_seconds=state.settings.max_stall_seconds)
    if media_type == _FORM:
        form = await read_form(request.headers["content-type"], pieces)
        parameters += form.fields
        parsed, name = _read(parameters, form.file_name, _TABLES.get(form.media_type, ""))
        rights.check("control", parsed.model)
        return await jobs.submit(parsed, name, form.content, length=length)
    parsed, name = _read(parameters, "", _TABLES[media_type])
    rights.check("control", parsed.model)
    return await jobs.submit(parsed, name, pieces, length=length)


def _read(parameters: list[tuple[str, str]], file_name: str, default: str) -> tuple[JobRequest, str]:
    """The request, and the name of its table."""
    names = [value for name, value in parameters if name == "name"]
    request = read_request((name, value) for name, value in parameters if name != "name")
    name = table_name(names[-1] if names else file_name, default)
    if not name:
        raise RequestError("name is missing: give the name of the table, like ?name=shop.csv")
    return request, name


def _announced(request: Request) -> int:
    """The length of the body that the client announces; 0 if it announces none."""
    length = request.headers.get("content-length", "")
    return int(length[:20]) if length.isascii() and length.isdigit() else 0
