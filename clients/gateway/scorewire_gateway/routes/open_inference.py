"""The Open Inference Protocol over HTTP: the server's own answers, and errors as the protocol has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code, ScorewireError
from scorewire_gateway.calls import call_options
from scorewire_gateway.errors import RequestError, inference_error_response
from scorewire_gateway.limits import read_body
from scorewire_gateway.open_inference.requests import HEADER_LENGTH, InferCall, decompress, read_infer_request
from scorewire_gateway.open_inference.responses import (
    server_metadata,
    to_bytes,
    to_json,
    write_infer_response,
)
from scorewire_gateway.state import State
from scorewire_proto.inference import inference_pb2 as pb

_LARGE_BYTES = 65_536
_JSON, _BINARY = "application/json", "application/octet-stream"
_MODEL = "/models/{model}"
_VERSION = "/models/{model}/versions/{version}"
# What the protocol has for false; the body tells it as well.
_NOT_READY = 400


class _InferenceRoute(APIRoute):
    """A route whose errors are those of the protocol."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except (RequestError, ScorewireError) as error:
                return inference_error_response(error)

        return answered


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=_InferenceRoute)

    async def call(request: Request, message: Message) -> Any:
        return await state.client.open_inference(message, **call_options(request, state.settings))

    @routes.get("", summary="The server and its extensions", response_model=None)
    async def server(request: Request) -> Response:
        """Name, version, and the protocol's extensions."""
        return _answer(server_metadata(await call(request, pb.ServerMetadataRequest())))

    @routes.get("/health/live", summary="Whether the server is live", response_model=None)
    async def live(request: Request) -> Response:
        """200 if the server is live, 400 if not."""
        return _answer_flag(await call(request, pb.ServerLiveRequest()), "live")

    @routes.get("/health/ready", summary="Whether the server is ready", response_model=None)
    async def ready(request: Request) -> Response:
        """200 if the server is ready, 400 if not, or if the gateway is about to stop."""
        answer = await call(request, pb.ServerReadyRequest())
        return _answer_flag(pb.ServerReadyResponse(ready=answer.ready and not state.draining), "ready")

    # /models/stats looks like the path of a model, so it comes first.
    @routes.get("/models/stats", summary="Statistics of all models", response_model=None)
    @routes.get(f"{_MODEL}/stats", summary="Statistics of a model", response_model=None)
    @routes.get(f"{_VERSION}/stats", summary="Statistics of a version", response_model=None)
    async def statistics(request: Request, model: str = "", version: str = "") -> Response:
        """Counts and times since each version was loaded."""
        return _answer(to_json(await call(request, pb.ModelStatisticsRequest(name=model, version=version))))

    @routes.get(_MODEL, summary="The tensors of a model", response_model=None)
    @routes.get(_VERSION, summary="The tensors of a version", response_model=None)
    async def model_metadata(request: Request, model: str, version: str = "") -> Response:
        """Versions that are ready, and the name, datatype and shape of each tensor."""
        return _answer(to_json(await call(request, pb.ModelMetadataRequest(name=model, version=version))))

    @routes.get(f"{_MODEL}/ready", summary="Whether a model is ready", response_model=None)
    @routes.get(f"{_VERSION}/ready", summary="Whether a version is ready", response_model=None)
    async def model_ready(request: Request, model: str, version: str = "") -> Response:
        """200 if the model is ready, 400 if not, or if there is no such model."""
        answer = await call(request, pb.ModelReadyRequest(name=model, version=version))
        return _answer_flag(answer, "ready", {"name": model})

    @routes.get(f"{_MODEL}/config", summary="The configuration of a model", response_model=None)
    @routes.get(f"{_VERSION}/config", summary="The configuration of a version", response_model=None)
    async def model_config(request: Request, model: str, version: str = "") -> Response:
        """The tensors of the model as a model configuration of Triton."""
        answer = await call(request, pb.ModelConfigRequest(name=model, version=version))
        return _answer(to_json(answer.config))

    @routes.post("/repository/index", summary="All versions of all models", response_model=None)
    async def index(request: Request) -> Response:
        """A list of versions with their state."""
        return _answer(to_json(await call(request, pb.RepositoryIndexRequest()))["models"])

    @routes.post(
        f"{_MODEL}/infer", summary="Run a model on tensors", response_model=None, openapi_extra=_INFER
    )
    @routes.post(
        f"{_VERSION}/infer", summary="Run a version on tensors", response_model=None, openapi_extra=_INFER
    )
    async def infer(request: Request, model: str, version: str = "") -> Response:
        """JSON, or the extension for binary data of tensors, in the request and in the response."""
        settings = state.settings
        body = await read_body(
            request, max_bytes=settings.max_body_bytes, max_stall_seconds=settings.max_stall_seconds
        )
        encoding, header_length = (request.headers.get(name) for name in ("content-encoding", HEADER_LENGTH))

        def read() -> InferCall:
            content = decompress(body, encoding or "", settings.max_body_bytes)
            return read_infer_request(content, header_length, model, version)

        # What takes long would hold up other requests.
        is_large = len(body) > _LARGE_BYTES or bool(encoding)
        asked = await asyncio.to_thread(read) if is_large else read()
        response = await call(request, asked.message)
        if response.ByteSize() > _LARGE_BYTES:
            content, length = await asyncio.to_thread(write_infer_response, response, asked)
        else:
            content, length = write_infer_response(response, asked)
        if length is None:
            return Response(content, media_type=_JSON)
        return Response(content, headers={HEADER_LENGTH: str(length)}, media_type=_BINARY)

    @routes.api_route(
        "/{rest:path}",
        methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"],
        include_in_schema=False,
        response_model=None,
    )
    async def absent(rest: str) -> Response:
        """Every other path of the protocol, such as those that change models."""
        raise RequestError(
            f"the gateway has no /v2/{rest[:200]} with this method: it describes and runs models, and changes"
            " none",
            code=Code.UNIMPLEMENTED,
        )

    return routes


_INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "shape": {"type": "array", "items": {"type": "integer"}},
                                    "datatype": {"type": "string", "examples": ["FP64", "BYTES"]},
                                    "parameters": {"type": "object"},
                                    "data": {"type": "array", "items": {}},
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                            },
                        },
                    },
                }
            },
            _BINARY: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _answer(value: Any, http_code: int = 200) -> Response:
    return Response(to_bytes(value), http_code, media_type=_JSON)


def _answer_flag(answer: Message, name: str, described: dict[str, Any] | None = None) -> Response:
    flag = bool(getattr(answer, name))
    return _answer({**(described or {}), name: flag}, 200 if flag else _NOT_READY)
