"""Computes what a server must answer to any bytes, without the server's code.

It parses the bytes as the plain messages, not as their packed twins, and computes
scores from the definitions of the models in `tests.bundles`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from scorewire_contract.schema import fingerprint
from scorewire_proto.v1 import errors_pb2, prediction_pb2, schema_pb2
from tests import bundles

# The limit of rows of the server under test.
MAX_ROWS = 50
_MAGNITUDE_LIMIT = 1e30
_SUM_NUMBERS = 2


@dataclass(frozen=True)
class Served:
    """A model of the server under test: the values of a row, and the offset of each version's score."""

    number_count: int
    text_count: int
    offsets: Mapping[str, float]
    default_version: str
    fingerprint: str


@dataclass(frozen=True)
class Expected:
    """The expected outcome of a call; `reason` is empty for OK."""

    code: grpc.StatusCode
    reason: str = ""


_INVALID = Expected(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


def write_models(models: Path) -> None:
    """Write the bundles of MODELS."""
    for version, offset in MODELS["sum"].offsets.items():
        bundles.write_sum_bundle(models, version=version, offset=offset, number_count=_SUM_NUMBERS)
    bundles.write_classifier_bundle(models)
    bundles.write_greeting_bundle(models)


def expect(request: prediction_pb2.PredictRequest | None) -> Expected:
    """The expected outcome of a call with this request; None means bytes that are not a request."""
    if request is None:
        return Expected(grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    if not request.model:
        return _INVALID
    model = MODELS.get(request.model)
    if model is None:
        return Expected(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    if request.version and request.version not in model.offsets:
        return Expected(grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")
    if request.schema_fingerprint not in ("", model.fingerprint):
        return Expected(grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_MISMATCH")
    return _expect_shape(model, request.rows)


def _expect_shape(model: Served, rows: prediction_pb2.Rows) -> Expected:
    if rows.row_count > MAX_ROWS:
        return Expected(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_ROWS")
    fits = (
        rows.row_count > 0
        and len(rows.numbers) == rows.row_count * model.number_count
        and len(rows.texts) == rows.row_count * model.text_count
    )
    return Expected(grpc.StatusCode.OK) if fits else _INVALID


def read_request(data: bytes) -> prediction_pb2.PredictRequest | None:
    """Parse a request; None if the bytes are not one."""
    try:
        return prediction_pb2.PredictRequest.FromString(data)
    except DecodeError:
        return None


def read_stream_request(data: bytes) -> tuple[int, prediction_pb2.PredictRequest | None]:
    """Parse a message of a stream to its correlation id and request; 0 and None if the bytes are not one."""
    try:
        message = prediction_pb2.PredictStreamRequest.FromString(data)
    except DecodeError:
        return 0, None
    return message.correlation_id, message.request


def check_scores(request: prediction_pb2.PredictRequest, response: prediction_pb2.PredictResponse) -> None:
    """Check that a response is right for its request."""
    model = MODELS[request.model]
    version = request.version or model.default_version
    assert (response.model, response.version) == (request.model, version)
    assert response.row_count == request.rows.row_count
    rows = [
        _expect_row(
            request.model,
            model.offsets[version],
            request.rows.numbers[i * model.number_count : (i + 1) * model.number_count],
            request.rows.texts[i * model.text_count : (i + 1) * model.text_count],
        )
        for i in range(request.rows.row_count)
    ]
    assert [(error.row, error.reason, error.feature) for error in response.errors] == [
        (i, row.reason, row.feature) for i, row in enumerate(rows) if isinstance(row, _BadRow)
    ]
    width = sum(len(output.numbers) for output in response.outputs) // len(rows)
    found = np.concatenate(
        [np.array(output.numbers).reshape(len(rows), -1) for output in response.outputs], axis=1
    )
    for row, values in zip(rows, found, strict=True):
        if isinstance(row, _BadRow):
            assert np.isnan(values).all()
        else:
            assert len(row) == width
            assert all(score.low <= value <= score.high for score, value in zip(row, values, strict=True))


@dataclass(frozen=True)
class _BadRow:
    reason: errors_pb2.ErrorReason.ValueType
    feature: str


@dataclass(frozen=True)
class _Between:
    low: float
    high: float


def _expect_row(
    model: str, offset: float, numbers: Sequence[float], texts: Sequence[str]
) -> _BadRow | list[_Between]:
    """The error of a row, or bounds for its values, with all outputs in one list."""
    if model == "greeting":
        return _expect_greeting(texts[0])
    if math.isnan(numbers[0]):
        return _BadRow(errors_pb2.ERROR_REASON_MISSING_VALUE, "x" if model == "classes" else "x0")
    if model == "classes" and numbers[0] <= bundles.LOWEST_CLASSED:
        return _BadRow(errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, "x")
    return _expect_classes(numbers[0]) if model == "classes" else _expect_sum(offset, numbers, texts[0])


def _expect_greeting(word: str) -> _BadRow | list[_Between]:
    value = bundles.GREETINGS.get(word)
    if value is not None:
        return [_Between(value, value)]
    reason = errors_pb2.ERROR_REASON_UNKNOWN_TEXT if word else errors_pb2.ERROR_REASON_MISSING_VALUE
    return _BadRow(reason, "word")


def _expect_sum(offset: float, numbers: Sequence[float], text: str) -> _BadRow | list[_Between]:
    for i, number in enumerate(numbers):
        if abs(number) > _MAGNITUDE_LIMIT:
            return _BadRow(errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, f"x{i}")
    # The methods of bytes handle ASCII only, as the bundle's fold does.
    country = text.encode().strip().lower().decode()
    terms = [number for number in numbers if not math.isnan(number)]
    terms += [bundles.COUNTRIES.get(country, bundles.UNKNOWN_COUNTRY), offset]
    total, error = math.fsum(terms), 1e-14 * math.fsum(map(abs, terms))
    return [_Between(total - error, total + error)]


def _expect_classes(x: float) -> list[_Between]:
    with np.errstate(over="ignore"):
        x = float(np.float32(x))
    yes = 0.5 * (1 + math.tanh(x / 2))
    tie = abs(x) < 1e-5
    label = _Between(0.0 if tie else float(yes > 0.5), 1.0 if tie else float(yes > 0.5))
    return [_Between(1 - yes - 1e-6, 1 - yes + 1e-6), _Between(yes - 1e-6, yes + 1e-6), label]


def _fingerprint(
    numbers: Sequence[str], texts: Sequence[str], outputs: Sequence[schema_pb2.OutputSchema]
) -> str:
    """The fingerprint of a schema with these features and outputs."""
    schema = schema_pb2.Schema(outputs=outputs)
    for name in numbers:
        schema.features.add(name=name, kind=schema_pb2.FEATURE_KIND_NUMBER)
    for name in texts:
        schema.features.add(name=name, kind=schema_pb2.FEATURE_KIND_TEXT)
    return fingerprint(schema)


_VALUE = schema_pb2.OutputSchema(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
_CLASSES = [
    schema_pb2.OutputSchema(name=name, kind=kind, width=width, class_labels=["no", "yes"])
    for name, kind, width in (
        ("probabilities", schema_pb2.OUTPUT_KIND_PROBABILITY, 2),
        ("label", schema_pb2.OUTPUT_KIND_CLASS, 1),
    )
]
MODELS = {
    "sum": Served(
        number_count=_SUM_NUMBERS,
        text_count=1,
        offsets={"1.0.0": 0.0, "1.1.0": 100.0, "2.0.0-rc.1": -7.5},
        default_version="1.1.0",
        fingerprint=_fingerprint(["x0", "x1"], ["country"], [_VALUE]),
    ),
    "classes": Served(
        number_count=1,
        text_count=0,
        offsets={"1.0.0": 0.0},
        default_version="1.0.0",
        fingerprint=_fingerprint(["x"], [], _CLASSES),
    ),
    "greeting": Served(
        number_count=0,
        text_count=1,
        offsets={"1.0.0": 0.0},
        default_version="1.0.0",
        fingerprint=_fingerprint([], ["word"], [_VALUE]),
    ),
}
