"""gRPC server reflection, so that tools can call the server without our protos.

The versions v1 and v1alpha differ in the name of their package only; the same
messages serve both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2  # noqa: F401 - adds the health service to the pool of descriptors
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from scorewire_proto.v1 import models_pb2, prediction_pb2  # noqa: F401 - as above
from scorewire_server.control import health, model_service
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.errors import MalformedMessageError

_METHOD = "ServerReflectionInfo"
_V1 = "grpc.reflection.v1.ServerReflection"
_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


class Reflection:
    """Describes the services of the server."""

    def __init__(self) -> None:
        services = (health.PREDICTION_SERVICE, model_service.NAME, health.NAME, _V1ALPHA)
        self._servicer = reflection_aio.ReflectionServicer(services)

    def methods(self) -> list[ControlMethod]:
        """ServerReflectionInfo in both versions."""
        return [StreamMethod(f"/{service}/{_METHOD}", self._info) for service in (_V1, _V1ALPHA)]

    async def _info(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for answer in self._servicer.ServerReflectionInfo(_decode(messages), None):
            yield answer.SerializeToString()


async def _decode(messages: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for data in messages:
        try:
            yield reflection_pb2.ServerReflectionRequest.FromString(data)
        except DecodeError:
            raise MalformedMessageError("the message is no ServerReflectionRequest") from None
