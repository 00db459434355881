"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scorewire import TLS, AsyncClient, Retries, ScorewireError
from scorewire_contract.service.logs import logger
from scorewire_contract.service.settings import SettingError
from scorewire_gateway.connection import CancelMiddleware
from scorewire_gateway.errors import (
    RequestError,
    error_response,
    http_error_response,
    invalid_field,
)
from scorewire_gateway.guard import Guard
from scorewire_gateway.jobs.opening import open_jobs
from scorewire_gateway.limits import LimitsMiddleware
from scorewire_gateway.metrics import Metrics, MetricsMiddleware
from scorewire_gateway.routes import (
    comparison,
    console,
    documentation,
    files,
    health,
    jobs,
    models,
    open_inference,
    predict,
    records,
    statistics,
)
from scorewire_gateway.security import SecurityMiddleware
from scorewire_gateway.settings import Settings
from scorewire_gateway.state import State

# Paths are tried in this order, so the one that is called most comes first.
ROUTERS: tuple[Callable[[State], APIRouter], ...] = (
    predict.router,
    health.router,
    files.router,
    jobs.router,
    models.router,
    open_inference.router,
    statistics.router,
    documentation.router,
    comparison.router,
    records.router,
    console.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Make the gateway; its state is `app.state.gateway`, a `State`.

    Raises:
        SettingError: the settings contradict each other, or a file that they name cannot be read.
        StartError: the folder of jobs cannot be used.
    """
    client = _client(settings)
    metrics = Metrics()
    state = State(
        settings=settings,
        client=client,
        guard=Guard(client, settings),
        metrics=metrics,
        jobs=open_jobs(settings, metrics.registry),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if state.jobs is not None:
            state.jobs.start()
        yield
        if state.jobs is not None:
            await state.jobs.stop()
        await client.close()

    app = FastAPI(
        title="Scorewire",
        version=version("scorewire-gateway"),
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            ScorewireError: _answer_error,
            RequestError: _answer_error,
            HTTPException: _answer_http_error,
            RequestValidationError: _answer_invalid,
        },
    )
    app.state.gateway = state
    for router in ROUTERS:
        app.include_router(router(state))
    # The first that is added is the last one that a request reaches.
    if settings.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origin,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
        )
    app.add_middleware(_FaultMiddleware)
    app.add_middleware(
        LimitsMiddleware,
        max_in_flight=settings.max_in_flight,
        max_stall_seconds=settings.max_stall_seconds,
    )
    app.add_middleware(MetricsMiddleware, metrics=state.metrics)
    app.add_middleware(SecurityMiddleware, settings=settings)
    app.add_middleware(CancelMiddleware)
    return app


def _client(settings: Settings) -> AsyncClient:
    """The client of the scoring server.

    Raises:
        SettingError: the address is not valid, or a file of the TLS options cannot be read.
    """
    files = {
        "root_certificates": settings.server_tls_ca,
        "certificate_chain": settings.server_tls_cert,
        "private_key": settings.server_tls_key,
    }
    is_asked = settings.server_tls_name is not None or any(files.values())
    with_tls = settings.server_tls == "on" or (settings.server_tls == "auto" and is_asked)
    try:
        tls = TLS.from_files(**files, server_name=settings.server_tls_name) if with_tls else None
        return AsyncClient(
            settings.server,
            timeout=settings.timeout,
            channels=settings.server_channels,
            tls=tls,
            # A caller that its limits refuse is told so, and takes no place of others while it waits.
            retries=Retries(limits=False),
        )
    except OSError as error:
        raise SettingError(f"{error.filename} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingError(f"--server: {error}") from None


class _FaultMiddleware:
    """Logs an exception that no handler takes, a fault of the gateway; the client gets a fixed text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            route = getattr(scope.get("route"), "path", "")
            logger().error("request failed by a fault of the gateway", route=route, exc_info=error)
            if begun:
                # The client must not take a part for the whole; the protocol closes the connection.
                raise
            await error_response(error)(scope, receive, send)


async def _answer_error(_: Request, error: Exception) -> Response:
    return error_response(error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler of this type
    message = {
        404: f"there is no path {request.url.path[:200]!r}; /docs lists all paths",
        405: f"{request.method} is not a method of this path; /docs lists all methods",
    }.get(error.status_code, str(error.detail))
    return http_error_response(error.status_code, message, error.headers)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler of this type
    first = error.errors()[0]
    return error_response(invalid_field(".".join(map(str, first["loc"][-1:])), str(first["msg"])))
