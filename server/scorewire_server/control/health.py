"""grpc.health.v1: whether the server, each of its services and each model serves.

A caller can ask for "" (the whole server), for every service of the server by its
full name, typed services included, and for each model by its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from scorewire_server.control.descriptors import HEALTH, SERVICES, health_file
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import INFERENCE, PREDICTION
from scorewire_server.engine.port import ControlMethod, StreamMethod, UnaryMethod
from scorewire_server.engine.snapshot import Snapshot
from scorewire_server.errors import MalformedMessageError, ModelNotFoundError, TooManyRowsError, clip

# As in gRFC A90.
MAX_LISTED = 100
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_FILES = descriptor_pool.DescriptorPool()
_FILES.Add(health_file())
_ListRequest: Any
_ListResponse: Any
_ListRequest, _ListResponse = (
    message_factory.GetMessageClass(_FILES.FindMessageTypeByName(f"grpc.health.v1.HealthList{kind}"))
    for kind in ("Request", "Response")
)


class Health:
    """The health of each service; to be used from one event loop.

    Args:
        lists_models: whether List tells the names of models and of their services. Everybody may ask for the
            health of a name, and with --access not everybody may learn names.
    """

    def __init__(self, *, lists_models: bool = True) -> None:
        self._lists_models = lists_models
        self._states = _states(_NOT_SERVING)
        self._draining = False
        self._changed = asyncio.Event()

    def methods(self) -> list[ControlMethod]:
        """Check, List and Watch."""
        return [
            UnaryMethod(f"/{HEALTH}/Check", self._check),
            UnaryMethod(f"/{HEALTH}/List", self._list),
            StreamMethod(f"/{HEALTH}/Watch", self._watch),
        ]

    def update(self, snapshot: Snapshot, *, loading: bool) -> None:
        """Take the states from a new snapshot.

        Args:
            snapshot: the new snapshot.
            loading: whether the first bundles are still being loaded; until they are, the server as a
                whole does not serve.
        """
        if self._draining:
            return
        serving = {name: bool(record.default_version) for name, record in snapshot.models.items()}
        whole = _SERVING if not loading and any(serving.values()) else _NOT_SERVING
        models = {name: _SERVING if serves else _NOT_SERVING for name, serves in serving.items()}
        # A typed service exists only while a version of its model is loaded.
        self._replace(_states(whole) | models | dict.fromkeys(snapshot.services, _SERVING))

    def drain(self) -> None:
        """Answer NOT_SERVING for everything from now on."""
        self._draining = True
        self._replace(dict.fromkeys(self._states, _NOT_SERVING))

    @property
    def serving(self) -> bool:
        """Whether the server as a whole serves."""
        return bool(self._states[""] == _SERVING)

    def _replace(self, states: dict[str, int]) -> None:
        self._states = states
        self._changed.set()
        self._changed = asyncio.Event()

    async def _check(self, data: bytes, _: CallContext) -> bytes:
        service = _service(data)
        state = self._states.get(service)
        if state is None:
            raise ModelNotFoundError(f"there is no service or model {clip(service)!r}", model=service)
        return _answer(state)

    async def _list(self, data: bytes, _: CallContext) -> bytes:
        try:
            _ListRequest.FromString(data)
        except DecodeError:
            raise MalformedMessageError("the message does not parse as HealthListRequest") from None
        names = self._states if self._lists_models else _states(_NOT_SERVING)
        if len(names) > MAX_LISTED:
            raise TooManyRowsError(f"more than {MAX_LISTED} services and models are here; use Check")
        answer = _ListResponse()
        for name in names:
            answer.statuses[name].status = self._states[name]
        return bytes(answer.SerializeToString())

    async def _watch(self, messages: AsyncIterator[bytes], _: CallContext) -> AsyncIterator[bytes]:
        service = None
        async for data in messages:
            service = _service(data)
            break
        if service is None:
            raise MalformedMessageError("the call ended before its request")
        last = None
        while True:
            changed = self._changed
            state = self._states.get(service, _SERVICE_UNKNOWN)
            if state != last:
                last = state
                yield _answer(state)
            else:
                await changed.wait()


def _states(whole: int) -> dict[str, int]:
    """The states of the server and its own services; those that predict serve if the whole server does."""
    return {"": whole} | dict.fromkeys(SERVICES, _SERVING) | {PREDICTION: whole, INFERENCE: whole}


def _service(data: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        raise MalformedMessageError("the message does not parse as HealthCheckRequest") from None


def _answer(state: int) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=state).SerializeToString())
