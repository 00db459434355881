"""Every method of a running server, with every kind of principal: who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.control.needs import NEEDS
from scorewire_server.engine.access import Principal, Right
from tests.access_files import Key, write_access
from tests.bundles import write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.wire import Failure, failure_of
from tests.processes import TIMEOUT_SECONDS, ServerProcess, serving
from tests.scorewire_server.control.rights import (
    ABOUT_A_MODEL,
    ABOUT_MODELS,
    ABOUT_NO_MODEL,
    EVERYBODY,
    HEALTH,
    MISSING,
    OBSERVE,
    OF_ONE_MODEL,
    OPEN,
    OTHER,
    OWN,
    PREDICT,
    PREDICTIONS,
    REFLECTION,
    Who,
)

STREAMS = {
    *REFLECTION,
    f"{HEALTH}/Watch",
    "/scorewire.v1.PredictionService/PredictStream",
    "/inference.GRPCInferenceService/ModelStreamInfer",
}
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
LET_IN = None
NO_RIGHT = "the caller has no right to do this with this model"
# What is no credential: nothing, a key that is not in the file, and other things.
STRANGERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    Key("scorewire_ffffffff_" + 64 * "0").metadata,
    (("authorization", "Basic Og=="),),
    (("authorization", "Bearer e30.e30.e30"),),
)


@dataclass
class Callers:
    """Calls a server as each principal of its access file."""

    server: ServerProcess
    channel: grpc.Channel
    keys: dict[str, Key]

    def refusal(self, path: str, request: Message | bytes, metadata: Any) -> Failure | None:
        """Why a call with one message is not let in; None if it is, whatever comes of it."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        method: Any = self.channel.stream_stream(path) if _streams(path) else self.channel.unary_unary(path)
        try:
            if not _streams(path):
                method(data, metadata=metadata, timeout=TIMEOUT_SECONDS)
                return None
            call = method(iter([data]), metadata=metadata, timeout=TIMEOUT_SECONDS)
            first = next(call, b"")
            call.cancel()
        except grpc.RpcError as error:
            failure = failure_of(error)
            return failure if failure.code in (UNAUTHENTICATED, DENIED) else None
        return _refusal_of_message(path, first)

    def code(self, path: str, request: Message | bytes, who: Who) -> grpc.StatusCode | None:
        refusal = self.refusal(path, request, self.keys[who.principal.name].metadata)
        return None if refusal is None else refusal.code


def _streams(path: str) -> bool:
    return path in STREAMS or path.endswith("Service/PredictStream")


def _refusal_of_message(path: str, data: bytes) -> Failure | None:
    """The refusal in an answer of a stream of predictions, whose messages fail one by one."""
    if path.startswith("/scorewire.v1."):
        error = prediction_pb2.PredictStreamResponse.FromString(data).error
        return Failure(DENIED, error.message, error) if error.code == DENIED.value[0] else None
    if path.startswith("/inference."):
        text = inference_pb2.ModelStreamInferResponse.FromString(data).error_message
        return Failure(DENIED, text, None) if text == NO_RIGHT else None
    return None


def _patterns(principal: Principal) -> dict[str, list[str]]:
    return {
        right.value: [*sorted(patterns.names), *(f"{each}*" for each in patterns.prefixes)]
        for right, patterns in principal.rights.items()
    }


@pytest.fixture(scope="module", params=ENGINES)
def callers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    folder = tmp_path_factory.mktemp("rights")
    for model in (OWN, OTHER):
        write_sum_bundle(folder / "models", model=model)
    # "SHOP" is no name of a model, so no file can have it.
    everybody = {
        who.principal.name: _patterns(who.principal)
        for who in EVERYBODY
        if "elsewhere" not in who.principal.name
    }
    keys = {name: Key.make() for name in everybody}
    file = write_access(
        folder / "access.toml",
        {name: {**rights, "keys": [keys[name].entry()]} for name, rights in everybody.items()},
    )
    flags = ("--engine", request.param, "--access", file, "--watch", "off")
    with (
        serving(folder, folder / "models", *flags) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield Callers(server, channel, keys)


@pytest.fixture
def everybody(callers: Callers) -> list[Who]:
    return [who for who in EVERYBODY if who.principal.name in callers.keys]


def test_the_tables_have_each_method() -> None:
    tables = (OPEN, ABOUT_NO_MODEL, ABOUT_A_MODEL, ABOUT_MODELS, PREDICTIONS)
    assert {path for table in tables for path in table} == NEEDS.keys()


def test_health_needs_no_credential_and_everything_else_a_valid_one(callers: Callers) -> None:
    for path in (*NEEDS, "/scorewire.models.shop.v1.ShopService/Predict", "/no.Service/Method"):
        for metadata in STRANGERS:
            refusal = callers.refusal(path, b"", metadata)
            if path in OPEN:
                assert refusal is None, path
            else:
                assert refusal is not None, path
                assert (refusal.code, refusal.reason) == (UNAUTHENTICATED, "UNAUTHENTICATED")
                assert refusal.message == "the call shows no valid credential"


@pytest.mark.parametrize("path", sorted(ABOUT_NO_MODEL))
def test_what_is_about_no_model_needs_any_right(callers: Callers, everybody: list[Who], path: str) -> None:
    for who in everybody:
        expected = DENIED if who.right is None else LET_IN
        assert callers.code(path, b"", who) == expected, who.principal.name


@pytest.mark.parametrize("path", sorted({**ABOUT_A_MODEL, **OF_ONE_MODEL, **PREDICTIONS}))
@pytest.mark.parametrize("model", [OWN, OTHER, MISSING])
def test_what_is_about_a_model_needs_the_right_to_it(
    callers: Callers, everybody: list[Who], path: str, model: str
) -> None:
    if path in ABOUT_A_MODEL:
        rights, request = ABOUT_A_MODEL[path]
    elif path in PREDICTIONS:
        rights, request = (PREDICT,), PREDICTIONS[path]
    else:
        rights, request = (OBSERVE,), OF_ONE_MODEL[path]
    asked = request(model)
    if path.endswith(("/UnloadVersion", "/RepositoryModelUnload")):
        # A version that is not there, so that the model serves on.
        asked = _of_no_version(asked)
    for who in everybody:
        expected = LET_IN if who.may(rights, model) else DENIED
        assert callers.code(path, asked, who) == expected, who.principal.name


@pytest.mark.parametrize("method", ["Predict", "PredictBatch", "PredictStream"])
@pytest.mark.parametrize("model", [OWN, OTHER])
def test_typed_services_need_the_right_to_predict_their_model(
    callers: Callers, everybody: list[Who], method: str, model: str
) -> None:
    path = f"/scorewire.models.{model}.v1.{model.capitalize()}Service/{method}"
    for who in everybody:
        expected = LET_IN if who.may((PREDICT,), model) else DENIED
        assert callers.code(path, b"", who) == expected, who.principal.name


@pytest.mark.parametrize("path", sorted(ABOUT_MODELS))
def test_lists_have_the_models_of_the_caller(callers: Callers, everybody: list[Who], path: str) -> None:
    rights, whole, names = ABOUT_MODELS[path]
    # Statistics list what has been answered; they are let in, and unit tests look at what they have.
    listed = {OWN, OTHER} if Right.PREDICT in rights else set()
    for who in everybody:
        metadata = callers.keys[who.principal.name].metadata
        if who.right not in rights:
            assert callers.code(path, b"", who) == DENIED, who.principal.name
            continue
        method: Any = callers.channel.unary_unary(path)
        answer = type(whole).FromString(method(b"", metadata=metadata, timeout=TIMEOUT_SECONDS))
        found = set(names(answer))
        assert found <= who.models
        assert found >= who.models & listed, who.principal.name


def test_refusals_are_the_same_bytes_for_models_that_exist_and_others(callers: Callers) -> None:
    for path, request in PREDICTIONS.items():
        said = set()
        for model in (OTHER, MISSING):
            refusal = callers.refusal(path, request(model), callers.keys["predict-own"].metadata)
            assert refusal is not None
            status = b"" if refusal.status is None else refusal.status.SerializeToString(deterministic=True)
            said.add((refusal.code, refusal.message, status))
        assert len(said) == 1, path


def _of_no_version(request: Message) -> Message:
    named: Any = request
    if isinstance(request, inference_pb2.RepositoryModelUnloadRequest):
        named.parameters["version"].string_param = "9.9.9"
    else:
        named.version = "9.9.9"
    return request
