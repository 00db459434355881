"""The gRPC methods that the SDK calls."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import models_pb2, packed_pb2


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A gRPC method: its path, and the classes of its request and response."""

    path: str
    request: type[Message]
    response: type[Message]


def _of_model_service(name: str) -> Method:
    return Method(
        f"/scorewire.v1.ModelService/{name}",
        getattr(models_pb2, f"{name}Request"),
        getattr(models_pb2, f"{name}Response"),
    )


PREDICT = Method(
    "/scorewire.v1.PredictionService/Predict",
    packed_pb2.PackedPredictRequest,
    packed_pb2.PackedPredictResponse,
)
PREDICT_STREAM = Method(
    "/scorewire.v1.PredictionService/PredictStream",
    packed_pb2.PackedPredictStreamRequest,
    packed_pb2.PackedPredictStreamResponse,
)
LIST_MODELS = _of_model_service("ListModels")
GET_MODEL = _of_model_service("GetModel")
LOAD_VERSION = _of_model_service("LoadVersion")
UNLOAD_VERSION = _of_model_service("UnloadVersion")
SET_ALIAS = _of_model_service("SetAlias")
DELETE_ALIAS = _of_model_service("DeleteAlias")
SET_SPLIT = _of_model_service("SetSplit")
SET_SHADOW = _of_model_service("SetShadow")
ROLLBACK = _of_model_service("Rollback")
GET_STATISTICS = _of_model_service("GetStatistics")
GET_SERVER = _of_model_service("GetServer")
HEALTH = Method("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
# Of the Open Inference Protocol, those that change nothing; by the class of their request.
OPEN_INFERENCE = {
    method.request: method
    for method in (
        Method(
            f"/inference.GRPCInferenceService/{name}",
            getattr(inference_pb2, f"{name}Request"),
            getattr(inference_pb2, f"{name}Response"),
        )
        for name in (
            "ServerLive",
            "ServerReady",
            "ServerMetadata",
            "ModelReady",
            "ModelMetadata",
            "ModelConfig",
            "ModelStatistics",
            "ModelInfer",
            "RepositoryIndex",
        )
    )
}
UNARY_METHODS = (
    PREDICT,
    LIST_MODELS,
    GET_MODEL,
    LOAD_VERSION,
    UNLOAD_VERSION,
    SET_ALIAS,
    DELETE_ALIAS,
    SET_SPLIT,
    SET_SHADOW,
    ROLLBACK,
    GET_STATISTICS,
    GET_SERVER,
    HEALTH,
    *OPEN_INFERENCE.values(),
)
