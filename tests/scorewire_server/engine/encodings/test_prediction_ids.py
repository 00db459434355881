"""Where each encoding has the id of the record, and that an answer without one is as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory

from scorewire_contract.bundle import Bundle
from scorewire_contract.coding import RowError
from scorewire_contract.scoring import Scores
from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from scorewire_server.engine.encodings.encoding import Answer, Encoding, VersionName
from scorewire_server.engine.encodings.positional import PositionalEncoding, PositionalStreamEncoding
from scorewire_server.engine.encodings.tensors import TensorEncoding, TensorStreamEncoding
from scorewire_server.engine.encodings.typed import TypedBatchEncoding, TypedEncoding, TypedStreamEncoding
from tests.scorewire_server.models import loaded_version, zeros

ID = "019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0003-18446744073709551615"
_TYPED = VersionName("sum", "", 1)
_TENSORS = inference_pb2.ModelInferRequest(model_name="sum", id="7")


def _typed(name: str) -> Callable[[Bundle], Any]:
    def kind(bundle: Bundle) -> Any:
        schema = loaded_version(bundle, zeros).typed.schema
        pool = descriptor_pool.DescriptorPool()
        pool.Add(schema.descriptor())
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{schema.package}.Sum{name}"))

    return kind


def _of_parameters(message: inference_pb2.ModelInferResponse) -> list[str]:
    return [message.parameters["prediction_id"].string_param] if message.parameters else []


CASES: dict[str, tuple[Encoding, bytes, Callable[[Bundle], Any], int, Callable[[Any], Sequence[str]]]] = {
    "Predict": (
        PositionalEncoding(),
        b"",
        lambda _: prediction_pb2.PredictResponse,
        2,
        lambda message: [message.prediction_id],
    ),
    "PredictStream": (
        PositionalStreamEncoding(),
        b"",
        lambda _: prediction_pb2.PredictStreamResponse,
        2,
        lambda message: [message.response.prediction_id],
    ),
    "ModelInfer": (
        TensorEncoding(),
        _TENSORS.SerializeToString(),
        lambda _: inference_pb2.ModelInferResponse,
        2,
        _of_parameters,
    ),
    "ModelStreamInfer": (
        TensorStreamEncoding(),
        _TENSORS.SerializeToString(),
        lambda _: inference_pb2.ModelStreamInferResponse,
        2,
        lambda message: _of_parameters(message.infer_response),
    ),
    "typed Predict": (
        TypedEncoding(_TYPED),
        b"",
        _typed("Prediction"),
        1,
        lambda message: [message.prediction_id],
    ),
    "typed PredictStream": (
        TypedStreamEncoding(_TYPED),
        b"",
        _typed("Prediction"),
        1,
        lambda message: [message.prediction_id],
    ),
    "typed PredictBatch": (
        TypedBatchEncoding(_TYPED),
        b"",
        _typed("Predictions"),
        2,
        lambda message: [each.prediction_id for each in message.predictions],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_has_the_id_of_its_record(sum_bundle: Bundle, name: str) -> None:
    encoding, request, kind, rows, ids = CASES[name]
    version = loaded_version(sum_bundle, zeros)
    scores = Scores(outputs=[np.array([[1.5]] * rows)], errors=[], model_ns=7_900)
    call = encoding.decode(request)
    message = kind(sum_bundle)
    named, plain = (
        message.FromString(encoding.encode(call, Answer(version, rows, scores, 9, each))) for each in (ID, "")
    )
    assert {*ids(named)} == {ID}
    assert not any(ids(plain))
    assert named != plain
    # A prediction that is not recorded has no field for the id, so that it has the bytes of before.
    assert encoding.encode(call, Answer(version, rows, scores, 9)) == plain.SerializeToString()


def test_a_row_with_an_error_has_the_id_too(sum_bundle: Bundle) -> None:
    version = loaded_version(sum_bundle, zeros)
    error = RowError(0, errors_pb2.ERROR_REASON_MISSING_VALUE, "x0", "x0 is missing")
    answer = Answer(version, 1, Scores(outputs=[np.array([[np.nan]])], errors=[error], model_ns=0), 9, ID)
    encoding = TypedStreamEncoding(_TYPED)
    prediction = _typed("Prediction")(sum_bundle).FromString(encoding.encode(encoding.decode(b""), answer))
    assert (prediction.prediction_id, prediction.error.feature) == (ID, "x0")


def test_an_output_called_prediction_id_keeps_its_field(sum_bundle: Bundle) -> None:
    manifest = deepcopy(sum_bundle.manifest)
    manifest.schema.outputs[0].name = "prediction_id"
    bundle = replace(sum_bundle, manifest=manifest)
    version = loaded_version(bundle, zeros)
    for name, rows in (("Prediction", 1), ("Predictions", 2)):
        encoding = TypedEncoding(_TYPED) if rows == 1 else TypedBatchEncoding(_TYPED)
        scores = Scores(outputs=[np.array([[1.5]] * rows)], errors=[], model_ns=0)
        for prediction_id in (ID, ""):
            answer = Answer(version, rows, scores, 9, prediction_id)
            message = _typed(name)(bundle).FromString(encoding.encode(encoding.decode(b""), answer))
            for each in [message] if rows == 1 else message.predictions:
                assert (each.prediction_id, each.scorewire_prediction_id) == (1.5, prediction_id)
