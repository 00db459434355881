"""The table of prediction methods. A new call is one row here and one encoding beside this file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scorewire_contract import typed as typed_service
from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine.encodings.encoding import Encoding, VersionName
from scorewire_server.engine.encodings.positional import PositionalEncoding, PositionalStreamEncoding
from scorewire_server.engine.encodings.tensors import TensorEncoding, TensorStreamEncoding
from scorewire_server.engine.encodings.typed import (
    TypedBatchEncoding,
    TypedEncoding,
    TypedStreamEncoding,
    read_metadata,
)

PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

# What calls are counted as.
PREDICT = "Predict"
PREDICT_STREAM = "PredictStream"
MODEL_INFER = "ModelInfer"
MODEL_STREAM_INFER = "ModelStreamInfer"
TYPED_PREDICT = "TypedPredict"
TYPED_PREDICT_BATCH = "TypedPredictBatch"
TYPED_PREDICT_STREAM = "TypedPredictStream"


@dataclass(frozen=True, slots=True)
class PredictionMethod:
    """A method that scores rows.

    Attributes:
        path: /package.Service/Method.
        encoding: how its messages are read and written.
        stream: whether a call has many messages, each answered in order.
        counted_as: its name in statistics and in the log.
    """

    path: str
    encoding: Encoding
    stream: bool
    counted_as: str


TENSOR_METHODS = (
    PredictionMethod(f"/{INFERENCE}/ModelInfer", TensorEncoding(), False, MODEL_INFER),
    PredictionMethod(f"/{INFERENCE}/ModelStreamInfer", TensorStreamEncoding(), True, MODEL_STREAM_INFER),
)
METHODS = (
    PredictionMethod(f"/{PREDICTION}/Predict", PositionalEncoding(), False, PREDICT),
    PredictionMethod(f"/{PREDICTION}/PredictStream", PositionalStreamEncoding(), True, PREDICT_STREAM),
    *TENSOR_METHODS,
)
# By the method's name in a typed service.
_TYPED_METHODS: dict[str, tuple[type[TypedEncoding], bool, str]] = {
    typed_service.PREDICT: (TypedEncoding, False, TYPED_PREDICT),
    typed_service.PREDICT_BATCH: (TypedBatchEncoding, False, TYPED_PREDICT_BATCH),
    typed_service.PREDICT_STREAM: (TypedStreamEncoding, True, TYPED_PREDICT_STREAM),
}


def typed_method(
    path: str, model: str, major: int, metadata: Iterable[tuple[str, str | bytes]]
) -> PredictionMethod | None:
    """The method of a model's typed service for one call; None where the service has no such method.

    Args:
        path: /package.Service/Method.
        model: the model whose service it is.
        major: the major version of the model that the service is of.
        metadata: the call's; they name a version and a routing key, and what is to be explained.
    """
    found = _TYPED_METHODS.get(path.rpartition("/")[2])
    if found is None:
        return None
    encoding, stream, counted_as = found
    version, routing_key, explain = read_metadata(metadata)
    target = VersionName(model, version, major)
    return PredictionMethod(path, encoding(target, routing_key, explain), stream, counted_as)
