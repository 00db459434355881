"""A live server tells what is wrong with any bytes, and answers the next good call."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scorewire_proto.v1 import errors_pb2
from tests.conformance.wire import Wire, failure_of, sum_request
from tests.processes import ServerProcess, serving
from tests.property.judge import ALLOWED, FLAGS, Judge
from tests.property.oracle import write_models
from tests.property.requests import stream_messages, unary_messages

# Too long for the metadata that errors are sent in.
LONG = "é\n" * 10_000
# Enough for most kinds of mutations; `python -m tests.property.fuzz` makes more.
bounded = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    # Some requests need long texts.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("property")
    write_models(folder / "models")
    with serving(folder, folder / "models", *FLAGS) as running:
        yield running
        assert running.log("call failed by a fault of the server") == []


@pytest.fixture(scope="module")
def judge(server: ServerProcess) -> Iterator[Judge]:
    judge = Judge(server.address)
    yield judge
    judge.close()


def test_any_unary_request_is_answered_as_it_must(judge: Judge) -> None:
    seen = set()

    @bounded
    @example(sum_request(model=LONG).SerializeToString())
    @example(sum_request(version=LONG).SerializeToString())
    @example(sum_request(schema_fingerprint=LONG).SerializeToString())
    @given(unary_messages)
    def run(data: bytes) -> None:
        seen.add(judge.judge_unary(data))

    run()
    assert seen == ALLOWED


def test_any_stream_is_answered_message_by_message(judge: Judge) -> None:
    seen = set()

    @bounded
    @given(st.lists(stream_messages, min_size=1, max_size=4))
    def run(messages: list[bytes]) -> None:
        seen.update(judge.judge_stream(messages))

    run()
    assert seen == ALLOWED


@pytest.mark.parametrize(
    ("path", "failures"),
    [
        ("/scorewire.v1.ModelService/ListModels", {"INVALID_ARGUMENT"}),
        ("/scorewire.v1.ModelService/GetModel", {"INVALID_ARGUMENT", "NOT_FOUND"}),
        ("/grpc.health.v1.Health/Check", {"INVALID_ARGUMENT", "NOT_FOUND"}),
    ],
)
def test_any_bytes_to_the_other_services_are_answered(
    server: ServerProcess, path: str, failures: set[str]
) -> None:
    wire = Wire(server.address)

    # A PredictRequest also parses as a GetModelRequest, and its model's name as the name of a service.
    @settings(bounded, max_examples=60)
    @given(unary_messages)
    def run(data: bytes) -> None:
        try:
            wire.call(path, data)
        except grpc.RpcError as error:
            failure = failure_of(error)
            assert failure.code.name in failures
            assert f"ERROR_REASON_{failure.reason}" in errors_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum

    with wire.channel:
        run()
