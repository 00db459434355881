"""Calls of one row in the other two encodings: typed, and as tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pool, message_factory

from scorewire_contract.typed import typed_schema
from scorewire_proto.inference import inference_pb2
from tests.bench.measure import Question
from tests.bench.scored_model import NAME, ScoredModel

_TOLERANCE = 1e-5


def typed_question(model: ScoredModel, file: Path) -> Question:
    """The first row as a message of the typed service."""
    manifest = model.bundle.manifest
    schema = typed_schema(manifest.model, manifest.version, manifest.schema)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema.descriptor())

    def message(name: str) -> type:
        found = pool.FindMessageTypeByName(f"{schema.package}.{schema.stem}{name}")
        return message_factory.GetMessageClass(found)

    row, prediction = message("Row"), message("Prediction")
    values = zip(schema.features, model.rows[0].tolist(), strict=True)
    asked = row(**{field.name: value for field, value in values if not np.isnan(value)})

    def scores(data: bytes) -> list[float]:
        return list(prediction.FromString(data).probabilities)

    path = f"/{schema.service}/Predict"
    return Question.of(asked.SerializeToString(), file, path, _compare(model, scores))


def tensor_question(model: ScoredModel, file: Path) -> Question:
    """The first row as a single tensor of all features, as clients of tree models send it."""
    asked = inference_pb2.ModelInferRequest(model_name=NAME)
    rows = model.rows[:1].astype("<f4")
    asked.inputs.add(name="input__0", datatype="FP32", shape=rows.shape)
    asked.raw_input_contents.append(rows.tobytes())

    def scores(data: bytes) -> list[float]:
        answer = inference_pb2.ModelInferResponse.FromString(data)
        (content,) = [
            content
            for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
            if output.name == "probabilities"
        ]
        return list(np.frombuffer(content, dtype="<f8").tolist())

    path = "/inference.GRPCInferenceService/ModelInfer"
    return Question.of(asked.SerializeToString(), file, path, _compare(model, scores))


def _compare(model: ScoredModel, scores: Callable[[bytes], list[float]]) -> Callable[[bytes], str]:
    wanted = model.fitted.predict_proba(model.rows[:1])[0]

    def problem(data: bytes) -> str:
        found = scores(data)
        fits = len(found) == len(wanted) and np.allclose(found, wanted, rtol=0, atol=_TOLERANCE)
        return "" if fits else f"probabilities are {found}, expected {wanted.tolist()}"

    return problem
