"""Sends the same calls to both engines, and compares the responses byte for byte, without their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import grpc
from google.rpc import status_pb2

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.conformance.engines import write_models
from tests.conformance.wire import PREDICT, Wire, failure_of, info_of
from tests.differential.requests import Requests
from tests.processes import serving
from tests.tree_bundles import write_trees_bundle

LIMITS = ("--max-rows", "1000", "--max-message-bytes", str(1 << 17))
SERVICE = "scorewire.v1.ModelService"
# The reference engine has the kernel only where its package is installed.
SAME_KERNEL = "auto" if find_spec("scorewire_kernel") else "onnxruntime"
_UNARY_AT_A_TIME = 64


class DisagreementError(AssertionError):
    """The engines gave different responses; the message has the request."""


@contextmanager
def both_engines(folder: Path, kernel: str = SAME_KERNEL) -> Iterator[tuple[Wire, Wire]]:
    """Channels to a reference engine and a native engine with the same bundles.

    What runs a version must be the same in both, for only then have all scores the same bits.
    """
    models = folder / "models"
    write_models(models)
    write_trees_bundle(models)
    places = folder / "reference", folder / "native"
    for place in places:
        place.mkdir()
    with (
        serving(places[0], models, *_flags(places[0], "reference", kernel)) as reference,
        serving(places[1], models, *_flags(places[1], "native", kernel)) as native,
    ):
        wires = Wire(reference.address), Wire(native.address)
        with wires[0].channel, wires[1].channel:
            runs_on = [_runs_on(wire) for wire in wires]
            assert runs_on[0] == runs_on[1]
            assert runs_on[0]["trees", "1.0.0"] == ("kernel" if kernel == "auto" else "onnxruntime")
            yield wires


def _flags(folder: Path, engine: str, kernel: str) -> tuple[str, ...]:
    return "--engine", engine, "--kernel", kernel, "--state-file", str(folder / "state"), *LIMITS


def _runs_on(wire: Wire) -> dict[tuple[str, str], str]:
    """What runs each version."""
    answer = models_pb2.ListModelsResponse.FromString(wire.unary(f"/{SERVICE}/ListModels")(b"", timeout=60))
    return {(model.name, each.version): each.runs_on for model in answer.models for each in model.versions}


def split(wire: Wire, model: str, weights: dict[str, int]) -> None:
    """Set a split over a model's versions."""
    request = models_pb2.SetSplitRequest(model=model)
    for version, weight in weights.items():
        request.split.add(version=version, weight=weight)
    wire.unary(f"/{SERVICE}/SetSplit")(request.SerializeToString(), timeout=60)


def compare(reference: Wire, native: Wire, *, count: int, seed: int, keyed: bool = False) -> Counter[str]:
    """Send generated requests to both engines, half of them on streams; returns counts of the outcomes.

    Args:
        reference: a channel to the reference engine.
        native: a channel to the native engine.
        count: the number of requests.
        seed: the seed of the generator.
        keyed: whether every request has a routing key.

    Raises:
        DisagreementError: two responses differ.
    """
    requests, outcomes = Requests(seed, keyed=keyed), Counter[str]()
    messages = [requests.streamed() for _ in range(count // 2)]
    answers = zip(*(wire.stream(iter(messages), timeout=600) for wire in (reference, native)), strict=True)
    for message, (wanted, found) in zip(messages, answers, strict=True):
        outcomes[_agreed(message, _streamed(wanted), _streamed(found))] += 1
    datas = [requests.unary() for _ in range(count - count // 2)]
    for begin in range(0, len(datas), _UNARY_AT_A_TIME):
        part = datas[begin : begin + _UNARY_AT_A_TIME]
        pairs = [
            [wire.unary(PREDICT).future(data, timeout=60) for data in part] for wire in (reference, native)
        ]
        for data, wanted_call, found_call in zip(part, *pairs, strict=True):
            outcomes[_agreed(data, _called(wanted_call), _called(found_call))] += 1
    return outcomes


def _agreed(request: bytes, wanted: tuple[str, object], found: tuple[str, object]) -> str:
    if wanted != found:
        raise DisagreementError(f"{request[:2000]!r}\nreference: {wanted}\nnative: {found}")
    return wanted[0]


def _streamed(data: bytes) -> tuple[str, object]:
    answer = prediction_pb2.PredictStreamResponse.FromString(data)
    if answer.SerializeToString() != data:
        raise DisagreementError(f"an answer is not written as protobuf writes it: {data!r}")
    if answer.WhichOneof("result") == "error":
        return info_of(answer.error).reason, (answer.correlation_id, _status(answer.error))
    _clear_times(answer.response)
    return "OK", answer.SerializeToString()


def _called(call: grpc.Future) -> tuple[str, object]:
    try:
        data = call.result()
    except grpc.RpcError as error:
        return outcome_of(error)
    answer = prediction_pb2.PredictResponse.FromString(data)
    if answer.SerializeToString() != data:
        raise DisagreementError(f"an answer is not written as protobuf writes it: {data!r}")
    _clear_times(answer)
    return "OK", answer.SerializeToString()


def outcome_of(error: grpc.RpcError) -> tuple[str, object]:
    """The reason of a failure, and its complete status."""
    failure = failure_of(error)
    return failure.reason, (failure.code, failure.message, _status(failure.status))


def _clear_times(response: prediction_pb2.PredictResponse) -> None:
    """Clear the two fields that may differ."""
    response.ClearField("server_time_us")
    response.ClearField("model_time_us")


def _status(status: status_pb2.Status | None) -> object:
    """A status in comparable values, because maps have no order on the wire."""
    assert status is not None
    details = [(detail.type_url, dict(info_of(status).metadata)) for detail in status.details[:1]]
    rest = [detail.SerializeToString() for detail in status.details[1:]]
    return status.code, status.message, info_of(status).reason, details, rest
