"""What each method needs, spelled out once more for tests, and principals of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from google.protobuf.message import Message

from scorewire_contract.patterns import Patterns
from scorewire_proto.inference import inference_pb2 as inference
from scorewire_proto.v1 import models_pb2 as pb
from scorewire_proto.v1 import prediction_pb2 as predictions
from scorewire_server.engine.access import Principal, Right

HEALTH, MODELS = "/grpc.health.v1.Health", "/scorewire.v1.ModelService"
INFERENCE = "/inference.GRPCInferenceService"
REFLECTION = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
PREDICT, OBSERVE, CONTROL = Right.PREDICT, Right.OBSERVE, Right.CONTROL
ANY = (PREDICT, OBSERVE, CONTROL)
# The models of the server; nobody has a right to the name "".
OWN, OTHER, MISSING = "shop", "game", "gone"

OPEN = {f"{HEALTH}/Check", f"{HEALTH}/List", f"{HEALTH}/Watch"} | {
    f"{INFERENCE}/ServerLive",
    f"{INFERENCE}/ServerReady",
}
# Not about a model: which rights will do.
ABOUT_NO_MODEL = dict.fromkeys((f"{MODELS}/GetServer", f"{INFERENCE}/ServerMetadata", *REFLECTION), ANY)
# About one model: which rights to it will do, and a request for it.
ABOUT_A_MODEL: dict[str, tuple[tuple[Right, ...], Callable[[str], Message]]] = {
    f"{MODELS}/GetModel": (ANY, lambda model: pb.GetModelRequest(model=model)),
    f"{MODELS}/LoadVersion": ((CONTROL,), lambda model: pb.LoadVersionRequest(model=model)),
    f"{MODELS}/UnloadVersion": ((CONTROL,), lambda model: pb.UnloadVersionRequest(model=model)),
    f"{MODELS}/SetAlias": ((CONTROL,), lambda model: pb.SetAliasRequest(model=model)),
    f"{MODELS}/DeleteAlias": ((CONTROL,), lambda model: pb.DeleteAliasRequest(model=model)),
    f"{MODELS}/SetSplit": ((CONTROL,), lambda model: pb.SetSplitRequest(model=model)),
    f"{MODELS}/SetShadow": ((CONTROL,), lambda model: pb.SetShadowRequest(model=model)),
    f"{MODELS}/Rollback": ((CONTROL,), lambda model: pb.RollbackRequest(model=model)),
    f"{INFERENCE}/ModelReady": (ANY, lambda model: inference.ModelReadyRequest(name=model)),
    f"{INFERENCE}/ModelMetadata": (ANY, lambda model: inference.ModelMetadataRequest(name=model)),
    f"{INFERENCE}/ModelConfig": (ANY, lambda model: inference.ModelConfigRequest(name=model)),
    f"{INFERENCE}/RepositoryModelLoad": (
        (CONTROL,),
        lambda model: inference.RepositoryModelLoadRequest(model_name=model, repository_name=OTHER),
    ),
    f"{INFERENCE}/RepositoryModelUnload": (
        (CONTROL,),
        lambda model: inference.RepositoryModelUnloadRequest(repository_name=model),
    ),
}
# About several models: which rights will do, the answer about both models, and its models.
ABOUT_MODELS: dict[str, tuple[tuple[Right, ...], Message, Callable[[Any], list[str]]]] = {
    f"{MODELS}/ListModels": (
        ANY,
        pb.ListModelsResponse(models=[pb.ModelStatus(name=OTHER), pb.ModelStatus(name=OWN)]),
        lambda answer: [each.name for each in answer.models],
    ),
    f"{INFERENCE}/RepositoryIndex": (
        ANY,
        inference.RepositoryIndexResponse(
            models=[inference.RepositoryIndexResponse.ModelIndex(name=name) for name in (OTHER, OWN, OWN)]
        ),
        lambda answer: [each.name for each in answer.models],
    ),
    f"{MODELS}/GetStatistics": (
        (OBSERVE,),
        pb.GetStatisticsResponse(
            routes=[pb.RouteStatistics(model=OTHER), pb.RouteStatistics(model=OWN)],
            records=pb.RecordLedger(offered=7),
        ),
        lambda answer: [each.model for each in answer.routes],
    ),
    f"{INFERENCE}/ModelStatistics": (
        (OBSERVE,),
        inference.ModelStatisticsResponse(
            model_stats=[inference.ModelStatistics(name=OTHER), inference.ModelStatistics(name=OWN)]
        ),
        lambda answer: [each.name for each in answer.model_stats],
    ),
}
# Statistics of one model.
OF_ONE_MODEL: dict[str, Callable[[str], Message]] = {
    f"{MODELS}/GetStatistics": lambda model: pb.GetStatisticsRequest(model=model),
    f"{INFERENCE}/ModelStatistics": lambda model: inference.ModelStatisticsRequest(name=model),
}


@dataclass(frozen=True)
class Who:
    """A principal, and to which of the models of these tests it has its one right."""

    principal: Principal
    right: Right | None
    models: frozenset[str]

    def may(self, rights: tuple[Right, ...], model: str) -> bool:
        return self.right in rights and model in self.models


def _everybody() -> Iterator[Who]:
    yield Who(Principal("nothing"), None, frozenset())
    empty = dict.fromkeys(Right, Patterns())
    yield Who(Principal("empty", empty), None, frozenset())
    kinds = {
        "own": (Patterns(frozenset({OWN})), {OWN}),
        "other": (Patterns(frozenset({OTHER})), {OTHER}),
        "both": (Patterns(frozenset({OWN, OTHER})), {OWN, OTHER}),
        "beginning": (Patterns(prefixes=("sho",)), {OWN}),
        "missing": (Patterns(prefixes=("go", "shopp")), {MISSING}),
        "elsewhere": (Patterns(frozenset({"sho", "shopping", "SHOP"})), set()),
        "all": (Patterns(prefixes=("",)), {OWN, OTHER, MISSING, ""}),
    }
    for right, (kind, (patterns, models)) in product(Right, kinds.items()):
        principal = Principal(f"{right.value}-{kind}", {right: patterns})
        yield Who(principal, right, frozenset(models))


EVERYBODY = list(_everybody())

# Predictions of one model; they need the right to predict it.
PREDICTIONS: dict[str, Callable[[str], Message]] = {
    "/scorewire.v1.PredictionService/Predict": lambda model: predictions.PredictRequest(model=model),
    "/scorewire.v1.PredictionService/PredictStream": lambda model: predictions.PredictStreamRequest(
        request=predictions.PredictRequest(model=model)
    ),
    f"{INFERENCE}/ModelInfer": lambda model: inference.ModelInferRequest(model_name=model),
    f"{INFERENCE}/ModelStreamInfer": lambda model: inference.ModelInferRequest(model_name=model),
}
