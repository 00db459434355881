"""scorewire.v1.ModelService: describes models, their routing and statistics, and changes them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from scorewire_proto.v1 import models_pb2 as pb
from scorewire_proto.v1 import schema_pb2
from scorewire_server.catalog.catalog import Catalog
from scorewire_server.control.descriptors import MODELS
from scorewire_server.control.known_texts import known_texts
from scorewire_server.control.methods import unary, unary_of_caller
from scorewire_server.control.route_statistics import route_statistics
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod
from scorewire_server.engine.snapshot import LoadedVersion, ModelRecord, Shadow
from scorewire_server.engine.statistics import Statistics
from scorewire_server.errors import missing_model, model_not_found
from scorewire_server.records.ledger import Ledger


class ModelService:
    """Describes and changes the catalog.

    Args:
        catalog: all versions.
        statistics: gives the engine's statistics.
        ledger: gives the ledger of records; None without records.
        server: gives the answer to GetServer, but for who calls.
        max_rows: the most rows in one call.
        max_message_bytes: the largest message, in bytes.
    """

    def __init__(
        self,
        catalog: Catalog,
        statistics: Callable[[], Statistics],
        ledger: Callable[[], Ledger | None],
        server: Callable[[], pb.GetServerResponse],
        *,
        max_rows: int,
        max_message_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._statistics = statistics
        self._ledger = ledger
        self._server = server
        self._max_rows = max_rows
        self._max_message_bytes = max_message_bytes

    def methods(self) -> list[ControlMethod]:
        """All methods of the service."""
        return [
            unary(MODELS, "ListModels", pb.ListModelsRequest, self._list_models),
            unary(MODELS, "GetModel", pb.GetModelRequest, self._get_model),
            unary(MODELS, "LoadVersion", pb.LoadVersionRequest, self._load_version),
            unary(MODELS, "UnloadVersion", pb.UnloadVersionRequest, self._unload_version),
            unary(MODELS, "SetAlias", pb.SetAliasRequest, self._set_alias),
            unary(MODELS, "DeleteAlias", pb.DeleteAliasRequest, self._delete_alias),
            unary(MODELS, "SetSplit", pb.SetSplitRequest, self._set_split),
            unary(MODELS, "SetShadow", pb.SetShadowRequest, self._set_shadow),
            unary(MODELS, "Rollback", pb.RollbackRequest, self._roll_back),
            unary(MODELS, "GetStatistics", pb.GetStatisticsRequest, self._get_statistics),
            unary_of_caller(MODELS, "GetServer", pb.GetServerRequest, self._get_server),
        ]

    async def _list_models(self, _: pb.ListModelsRequest) -> pb.ListModelsResponse:
        models = self._catalog.snapshot.models.values()
        return pb.ListModelsResponse(models=map(self._status, models))

    async def _get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        if not request.model:
            raise missing_model()
        snapshot = self._catalog.snapshot
        route = snapshot.route(request.model, request.version)
        version = route.heaviest
        return pb.GetModelResponse(
            status=self._status(snapshot.models[version.model]),
            version=version.version,
            schema=version.manifest.schema,
            description=version.manifest.description,
            metrics=version.manifest.metrics,
            created_at=version.manifest.created_at,
            # Any version of a split may answer, so the smallest limit counts.
            max_rows=min(
                self._max_rows, *(each.version.max_rows or self._max_rows for each in route.targets)
            ),
            max_message_bytes=self._max_message_bytes,
            known_texts=known_texts(version.manifest),
        )

    async def _load_version(self, request: pb.LoadVersionRequest) -> pb.LoadVersionResponse:
        done = self._change(request.model, self._catalog.load_version, request.model, request.version)
        return pb.LoadVersionResponse(status=await done)

    async def _unload_version(self, request: pb.UnloadVersionRequest) -> pb.UnloadVersionResponse:
        done = self._change(request.model, self._catalog.unload_version, request.model, request.version)
        return pb.UnloadVersionResponse(status=await done)

    async def _set_alias(self, request: pb.SetAliasRequest) -> pb.SetAliasResponse:
        names = request.model, request.alias, request.version
        return pb.SetAliasResponse(status=await self._change(request.model, self._catalog.set_alias, *names))

    async def _delete_alias(self, request: pb.DeleteAliasRequest) -> pb.DeleteAliasResponse:
        done = self._change(request.model, self._catalog.delete_alias, request.model, request.alias)
        return pb.DeleteAliasResponse(status=await done)

    async def _set_split(self, request: pb.SetSplitRequest) -> pb.SetSplitResponse:
        weights = [(each.version, each.weight) for each in request.split]
        done = self._change(request.model, self._catalog.set_split, request.model, weights)
        return pb.SetSplitResponse(status=await done)

    async def _set_shadow(self, request: pb.SetShadowRequest) -> pb.SetShadowResponse:
        shadow = None
        if request.HasField("shadow"):
            shadow = Shadow(request.shadow.version, request.shadow.share)
        done = self._change(request.model, self._catalog.set_shadow, request.model, shadow)
        return pb.SetShadowResponse(status=await done)

    async def _roll_back(self, request: pb.RollbackRequest) -> pb.RollbackResponse:
        done = self._change(request.model, self._catalog.roll_back, request.model)
        return pb.RollbackResponse(status=await done)

    async def _get_statistics(self, request: pb.GetStatisticsRequest) -> pb.GetStatisticsResponse:
        snapshot = self._catalog.snapshot
        if request.model and request.model not in snapshot.models:
            raise model_not_found(request.model)
        answer = route_statistics(self._statistics(), snapshot, request.model)
        if (ledger := self._ledger()) is not None:
            answer.records.CopyFrom(ledger.to_message())
        return answer

    async def _get_server(self, _: pb.GetServerRequest, context: CallContext) -> pb.GetServerResponse:
        answer = self._server()
        if (principal := context.principal) is not None:
            answer.caller.principal = principal.name
            for right, patterns in principal.rights.items():
                getattr(answer.caller, right.value).extend(patterns.texts())
        return answer

    async def _change(
        self, model: str, change: Callable[..., Coroutine[Any, Any, None]], *arguments: object
    ) -> pb.ModelStatus:
        """Make a change, and return the status of the model after it."""
        await change(*arguments)
        record = self._catalog.snapshot.models.get(model)
        return pb.ModelStatus(name=model) if record is None else self._status(record)

    def _status(self, model: ModelRecord) -> pb.ModelStatus:
        status = pb.ModelStatus(
            name=model.name,
            default_version=model.default_version,
            rollbacks=len(self._catalog.state(model.name).history),
            warning=model.warning,
        )
        for record in model.versions:
            version = status.versions.add(version=record.version, state=record.state, reason=record.reason)
            if record.serving_since is not None:
                version.serving_since.FromDatetime(record.serving_since)
            if record.loaded is not None:
                version.runs_on = record.loaded.runs_on.name
                version.runs_on_details = record.loaded.runs_on.details
                version.explanations.extend(_explanations(record.loaded))
        routing = status.routing
        for name, weight in model.routing.split:
            routing.split.add(version=name, weight=weight)
        routing.aliases.update(model.routing.aliases)
        if model.routing.shadow is not None:
            routing.shadow.version = model.routing.shadow.version
            routing.shadow.share = model.routing.shadow.share
        return status


def _explanations(version: LoadedVersion) -> Iterator[pb.OutputExplanation]:
    """Whether and how each output is explained, in schema order; not classes, which have probabilities."""
    explanations = version.explanations
    for output in version.manifest.schema.outputs:
        explainer = explanations.explainers.get(output.name)
        if explainer is not None:
            yield pb.OutputExplanation(
                output=output.name, link=explainer.told.link, details=explainer.trees.description
            )
        elif output.kind != schema_pb2.OUTPUT_KIND_CLASS or output.name in explanations.reasons:
            reason = explanations.reasons.get(output.name, explanations.absent)
            yield pb.OutputExplanation(output=output.name, details=reason)
