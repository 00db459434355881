"""scorewire.v1.ModelService: which models and versions there are, and what they take."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.port import ControlMethod, UnaryMethod
from scorewire_server.engine.snapshot import ModelRecord, Snapshot
from scorewire_server.errors import InvalidRequestError, MalformedMessageError, Violation

NAME = models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


class ModelService:
    """Answers from the snapshot that is current when a call comes."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def methods(self) -> list[ControlMethod]:
        """ListModels and GetModel."""
        return [
            UnaryMethod(f"/{NAME}/ListModels", self._list_models),
            UnaryMethod(f"/{NAME}/GetModel", self._get_model),
        ]

    async def _list_models(self, data: bytes) -> bytes:
        try:
            models_pb2.ListModelsRequest.FromString(data)
        except DecodeError:
            raise MalformedMessageError("the message is no ListModelsRequest") from None
        models = self._snapshot().models.values()
        return models_pb2.ListModelsResponse(models=map(_status, models)).SerializeToString()

    async def _get_model(self, data: bytes) -> bytes:
        try:
            request = models_pb2.GetModelRequest.FromString(data)
        except DecodeError:
            raise MalformedMessageError("the message is no GetModelRequest") from None
        if not request.model:
            description = "a model's name is missing; ListModels names them all"
            raise InvalidRequestError(f"model: {description}", violations=[Violation("model", description)])
        snapshot = self._snapshot()
        version = snapshot.route(request.model, request.version)
        return models_pb2.GetModelResponse(
            status=_status(snapshot.models[version.model]),
            version=version.version,
            schema=version.manifest.schema,
            description=version.manifest.description,
            metrics=version.manifest.metrics,
            created_at=version.manifest.created_at,
        ).SerializeToString()


def _status(model: ModelRecord) -> models_pb2.ModelStatus:
    status = models_pb2.ModelStatus(name=model.name, default_version=model.default_version)
    for record in model.versions:
        version = status.versions.add(version=record.version, state=record.state, reason=record.reason)
        if record.serving_since is not None:
            version.serving_since.FromDatetime(record.serving_since)
    return status
