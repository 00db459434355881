"""gRPC server reflection, so that tools can call the server without our protos.

The versions v1 and v1alpha differ in the name of their package only; the same
messages serve both. Typed services come and go with the snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2  # noqa: F401 - adds the health service to the pool of descriptors
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from scorewire_proto.v1 import models_pb2, prediction_pb2  # noqa: F401 - as above
from scorewire_server.control import health, model_service
from scorewire_server.engine.encodings import INFERENCE
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.engine.snapshot import Snapshot
from scorewire_server.errors import MalformedMessageError

_METHOD = "ServerReflectionInfo"
_V1 = "grpc.reflection.v1.ServerReflection"
_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
_SERVICES = (health.PREDICTION_SERVICE, model_service.NAME, INFERENCE, health.NAME, _V1ALPHA)


class Reflection:
    """Describes the services of the server and those of a snapshot's models."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._described: Snapshot | None = None
        self._servicer = reflection_aio.ReflectionServicer(_SERVICES)

    def methods(self) -> list[ControlMethod]:
        """ServerReflectionInfo in both versions."""
        return [StreamMethod(f"/{service}/{_METHOD}", self._info) for service in (_V1, _V1ALPHA)]

    async def _info(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for data in messages:
            # One by one: the snapshot may change while a caller keeps its stream.
            async for answer in self._current().ServerReflectionInfo(_decode(data), None):
                yield answer.SerializeToString()

    def _current(self) -> Any:
        snapshot = self._snapshot()
        if snapshot is not self._described:
            self._described = snapshot
            self._servicer = reflection_aio.ReflectionServicer(
                (*_SERVICES, *snapshot.services), pool=_Pool(snapshot)
            )
        return self._servicer


class _Pool:
    """The descriptors of a snapshot's typed services, and behind them those of the server."""

    def __init__(self, snapshot: Snapshot) -> None:
        models = descriptor_pool.DescriptorPool()
        for service in snapshot.services.values():
            models.Add(service.newest.typed.file)
        self._pools: tuple[Any, ...] = (models, descriptor_pool.Default())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def find(*arguments: object) -> Any:
            for pool in self._pools[:-1]:
                try:
                    return getattr(pool, name)(*arguments)
                except KeyError:
                    continue
            return getattr(self._pools[-1], name)(*arguments)

        return find


async def _decode(data: bytes) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    try:
        yield reflection_pb2.ServerReflectionRequest.FromString(data)
    except DecodeError:
        raise MalformedMessageError("the message is no ServerReflectionRequest") from None
