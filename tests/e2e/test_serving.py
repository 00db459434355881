"""A server process and the SDK: models, versions, refused bundles, streams, metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from scorewire import Client, NotFoundError, UnavailableError, VersionState
from tests.bundles import expected_value, write_classifier_bundle, write_sum_bundle
from tests.processes import TIMEOUT_SECONDS, ServerProcess, serving

ROW = {"x0": 1.5, "x1": 2.0, "country": "pe"}
CORRUPT = "1.2.0"
PREDICT = "/scorewire.v1.PredictionService/Predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Models with good versions, of which `sum` also has a corrupt one; and `broken`, which is corrupt."""
    folder = tmp_path_factory.mktemp("serving")
    models = folder / "models"
    write_sum_bundle(models, version="0.9.0", offset=-1)
    write_sum_bundle(models, version="0.10.0", offset=10)
    write_sum_bundle(models, version="1.1.0", offset=100)
    for model in ("sum", "broken"):
        graph = write_sum_bundle(models, model=model, version=CORRUPT) / "model.onnx"
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(bytes(content))
    write_classifier_bundle(models)
    with serving(folder, models) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def test_one_row_is_scored(client: Client) -> None:
    prediction = client.predict("sum", ROW)
    assert prediction.score == expected_value([1.5, 2.0], "pe", offset=100)
    assert (prediction.model, prediction.version) == ("sum", "1.1.0")


def test_a_batch_keeps_its_good_rows(client: Client) -> None:
    predictions = client.predict("sum", [ROW, {**ROW, "x0": math.nan}, {**ROW, "country": "?"}])
    assert predictions.scores[0] == expected_value([1.5, 2.0], "pe", offset=100)
    assert math.isnan(predictions.scores[1])
    assert predictions.scores[2] == expected_value([1.5, 2.0], "?", offset=100)
    assert [(error.row, error.reason, error.feature) for error in predictions.errors] == [
        (1, "MISSING_VALUE", "x0")
    ]


def test_a_classifier_answers_its_labels(client: Client) -> None:
    prediction = client.predict("classes", {"x": 2.0})
    assert prediction.label == "yes"
    assert prediction.score == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-6)


def test_a_stream_answers_in_order(client: Client) -> None:
    rows = [{"x0": float(i), "x1": 0.0, "country": "de"} for i in range(500)]
    scores = [prediction.score for prediction in client.predict_stream("sum", iter(rows))]
    assert scores == [expected_value([float(i), 0.0], "de", offset=100) for i in range(500)]


@pytest.mark.parametrize(("version", "offset"), [("0.9.0", -1), ("0.10.0", 10), ("1.1.0", 100)])
def test_every_version_answers_by_its_name(client: Client, version: str, offset: float) -> None:
    prediction = client.predict("sum", ROW, version=version)
    assert prediction.score == expected_value([1.5, 2.0], "pe", offset=offset)
    assert prediction.version == version


def test_the_default_is_the_highest_version_that_serves(client: Client) -> None:
    assert client.model("sum").version == "1.1.0"
    (status,) = [model for model in client.models() if model.name == "sum"]
    assert status.default_version == "1.1.0"
    assert [version.version for version in status.versions] == [CORRUPT, "1.1.0", "0.10.0", "0.9.0"]


def test_a_corrupt_bundle_is_refused_with_its_reason(client: Client, server: ServerProcess) -> None:
    for status in client.models():
        for version in status.versions:
            if version.version == CORRUPT:
                assert version.state is VersionState.REFUSED
                assert "model.onnx" in version.reason
            else:
                assert version.state is VersionState.SERVING
    lines = server.logged("version refused", lines=2)
    refused = {(line["model"], line["version"]): line["reason"] for line in lines}
    assert set(refused) == {("sum", CORRUPT), ("broken", CORRUPT)}
    assert all("model.onnx" in reason for reason in refused.values())


def test_a_refused_version_is_unavailable_and_an_unknown_one_not_found(server: ServerProcess) -> None:
    with Client(server.address) as client:
        with pytest.raises(UnavailableError) as refused:
            client.predict("sum", ROW, version=CORRUPT)
        assert refused.value.reason == "VERSION_UNAVAILABLE"
        with pytest.raises(NotFoundError) as unknown:
            client.predict("sum", ROW, version="7.0.0")
        assert unknown.value.reason == "VERSION_NOT_FOUND"


def test_health_tells_models_that_serve_from_those_that_do_not(client: Client) -> None:
    assert client.health()
    assert client.health("sum")
    assert not client.health("broken")


def test_metrics_count_what_was_answered(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    with serving(tmp_path, tmp_path / "models") as server, Client(server.address) as client:
        for _ in range(7):
            client.predict("sum", ROW)
        client.predict("sum", [ROW, {**ROW, "x0": math.nan}, ROW])
        # A message for each list; single rows would share messages.
        assert len(list(client.predict_stream("sum", [[ROW]] * 5))) == 5
        # Without the SDK, which would find these errors before it calls Predict.
        with grpc.insecure_channel(server.address) as channel:
            predict: Callable[..., bytes] = channel.unary_unary(PREDICT)
            for message in (b"", b"\xff", b"\xff"):
                with pytest.raises(grpc.RpcError):
                    predict(message, timeout=TIMEOUT_SECONDS)
        found = server.metrics()

    def sample(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    version = {"model": "sum", "version": "1.0.0"}
    unknown = {"model": "", "version": ""}
    assert sample("scorewire_calls_total", **version, method="Predict", code="OK") == 8
    assert sample("scorewire_calls_total", **unknown, method="Predict", code="INVALID_ARGUMENT") == 3
    assert sample("scorewire_calls_total", **version, method="PredictStream", code="OK") == 5
    assert sample("scorewire_call_seconds_count", **version, method="Predict") == 8
    assert sample("scorewire_call_seconds_count", **unknown, method="Predict") == 3
    failed = {**unknown, "method": "Predict", "code": "INVALID_ARGUMENT"}
    assert sample("scorewire_errors_total", **failed, reason="INVALID_REQUEST") == 1
    assert sample("scorewire_errors_total", **failed, reason="MALFORMED_MESSAGE") == 2
    assert sample("scorewire_rows_total", **version) == 7 + 3 + 5
    assert sample("scorewire_row_errors_total", **version, reason="MISSING_VALUE") == 1
    assert sample("scorewire_in_flight") == 0
    assert sample("scorewire_streams") == 0
    assert sample("scorewire_versions", **version, state="SERVING") == 1
    for part in ("decode", "model", "encode"):
        assert sample(f"scorewire_{part}_seconds_count", **version) == 8 + 5
        assert sample(f"scorewire_{part}_seconds_sum", **version) > 0
