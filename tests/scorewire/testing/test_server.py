from __future__ import annotations

import threading
from dataclasses import replace

import grpc
import pytest

from scorewire import Client, Code, NotFoundError, UnknownError
from scorewire.testing import FakeModel, FakeServer, ReceivedCall, RowRefusedError
from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.fake_models import CHURN, SUM


def predict(address: str, request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
    """A call without the SDK, as a client in another language makes it."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/scorewire.v1.PredictionService/Predict",
            request_serializer=prediction_pb2.PredictRequest.SerializeToString,
            response_deserializer=prediction_pb2.PredictResponse.FromString,
        )
        return call(request, timeout=60)


def test_the_fake_speaks_to_any_client(server: FakeServer) -> None:
    request = prediction_pb2.PredictRequest(model="sum")
    request.rows.row_count = 2
    request.rows.numbers.extend([1, 2, 3, 4])
    answer = predict(server.address, request)
    assert (answer.model, answer.version, answer.row_count) == ("sum", "1.0.0", 2)
    assert [(output.name, list(output.numbers)) for output in answer.outputs] == [("value", [3, 7])]


@pytest.mark.parametrize(
    ("row_count", "numbers", "texts"), [(0, [], []), (1, [1], []), (2, [1, 2], []), (1, [1, 2], ["a"])]
)
def test_rows_that_do_not_fit_are_refused(
    server: FakeServer, row_count: int, numbers: list[float], texts: list[str]
) -> None:
    request = prediction_pb2.PredictRequest(model="sum")
    request.rows.row_count = row_count
    request.rows.numbers.extend(numbers)
    request.rows.texts.extend(texts)
    with pytest.raises(grpc.RpcError) as caught:
        predict(server.address, request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert server.calls == [ReceivedCall(method="Predict", model="sum")]


def test_a_call_that_the_server_does_not_know_is_unimplemented(server: FakeServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/scorewire.v1.ModelService/Bake")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_highest_version_is_the_default(server: FakeServer) -> None:
    server.serve(replace(SUM, version="1.10.0", score=lambda _: 10.0))
    server.serve(replace(SUM, version="1.9.0", score=lambda _: 9.0))
    with Client(server.address) as client:
        assert client.predict("sum", {"x": 0}).score == 10
        assert client.predict("sum", {"x": 0}, version="1.9.0").score == 9


def test_classifiers_may_name_one_probability_or_all() -> None:
    all_three = FakeModel(
        name="shade", features={"x": float}, score=lambda _: (0.2, 0.5, 0.3), class_labels=("r", "g", "b")
    )
    last = FakeModel(name="buy", features={"x": float}, score=lambda _: 0.7, class_labels=("no", "yes"))
    with FakeServer(all_three, last) as server, Client(server.address) as client:
        assert client.predict("shade", {"x": 1}).label == "g"
        assert client.predict("buy", {"x": 1}).label == "yes"
        assert client.predict("buy", {"x": 1}).score == 0.7


def test_a_refused_row_has_the_reason_and_the_feature() -> None:
    def score(row: dict[str, object]) -> float:
        raise RowRefusedError("x", reason="NUMBER_OUT_OF_RANGE")

    model = FakeModel(name="picky", features={"x": float}, score=score)
    with FakeServer(model) as server, Client(server.address) as client:
        error = client.predict("picky", {"x": 1}).error
    assert error is not None
    assert (error.reason, error.feature, error.message) == ("NUMBER_OUT_OF_RANGE", "x", "x is refused")


def test_a_fault_of_the_scoring_function_is_told() -> None:
    model = FakeModel(name="broken", features={"x": float}, score=lambda row: row["y"])
    with (
        FakeServer(model) as server,
        Client(server.address) as client,
        pytest.raises(UnknownError, match="'y'"),
    ):
        client.predict("broken", {"x": 1})


def test_calls_are_kept_with_their_rows(server: FakeServer) -> None:
    with Client(server.address) as client:
        client.predict("churn", [{"age": 1, "country": "pe"}, {"age": None}], routing_key="k")
    assert server.calls == [
        ReceivedCall(method="GetModel", model="churn"),
        ReceivedCall(
            method="Predict",
            model="churn",
            routing_key="k",
            rows=({"age": 1.0, "country": "pe"}, {"age": None, "country": None}),
        ),
    ]


def test_failures_meet_the_method_that_they_are_for(server: FakeServer) -> None:
    server.fail(Code.NOT_FOUND, "not now", method="GetModel")
    with Client(server.address) as client:
        assert client.health()
        with pytest.raises(NotFoundError, match="not now"):
            client.model("sum")
        assert client.model("sum").version == "1.0.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Churn"}, "model name"),
        ({"version": "1"}, "not semantic"),
        ({"features": {}}, "at least one"),
        ({"features": {"x": int}}, "float or str"),
        ({"class_labels": ("only",)}, "at least two"),
    ],
)
def test_a_model_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CHURN, **change)  # type: ignore[arg-type]  # that is the point


def test_a_stopped_fake_leaves_no_threads() -> None:
    with FakeServer(SUM) as server, Client(server.address) as client:
        client.predict("sum", {"x": 1})
        assert any(thread.name.startswith("scorewire-fake") for thread in threading.enumerate())
    assert not any(thread.name.startswith("scorewire-fake") for thread in threading.enumerate())


def test_the_fake_lists_what_it_serves(server: FakeServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(
            "/scorewire.v1.ModelService/ListModels",
            request_serializer=models_pb2.ListModelsRequest.SerializeToString,
            response_deserializer=models_pb2.ListModelsResponse.FromString,
        )
        answer = call(models_pb2.ListModelsRequest(), timeout=60)
    assert [model.name for model in answer.models] == ["churn", "sum", "text"]
    assert all(model.versions[0].state == models_pb2.VERSION_STATE_SERVING for model in answer.models)
