"""Envoy in front of two servers: calls while they are killed and restarted, JSON, and what does not pass."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from scorewire_proto.v1 import models_pb2, prediction_pb2
from tests.conformance.wire import PREDICT, Wire
from tests.deploy.envoy.load import Load, one_row, replace_all
from tests.deploy.envoy.proxy import CONFIGURATION, DESCRIPTORS, ENVOY, Envoy, proxying, write_descriptors
from tests.go.rolling import Restarted, two_servers
from tests.processes import COMMAND, TIMEOUT_SECONDS, wait_until

# Calls that must be answered in each phase.
ENOUGH = 200


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Restarted]]:
    with two_servers(tmp_path_factory.mktemp("servers"), "auto", COMMAND) as started:
        yield started


@pytest.fixture(scope="module")
def envoy(servers: list[Restarted], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with proxying(tmp_path_factory.mktemp("envoy"), [server.address for server in servers]) as running:
        running.wait_until_well(2)
        yield running


def test_envoy_takes_the_configuration_without_a_warning(tmp_path: Path) -> None:
    write_descriptors(tmp_path / "scorewire.pb")
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert DESCRIPTORS in text
    written = tmp_path / "envoy.yaml"
    written.write_text(text.replace(DESCRIPTORS, str(tmp_path / "scorewire.pb")), encoding="utf-8")
    done = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", written], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("OK")
    assert "[warning]" not in done.stderr


def test_no_call_fails_while_servers_are_killed_and_restarted(servers: list[Restarted], envoy: Envoy) -> None:
    with Load(envoy.address).running() as load:
        replace_all(servers, envoy, load, rounds=1, calls=ENOUGH)
    assert load.failures == []
    assert load.answered > 2 * ENOUGH


@pytest.mark.parametrize(
    "request_",
    [
        one_row(1.0, 2.5),
        one_row(1e300, -0.0),
        one_row(0.1, float("nan"), country="ä\U0001f600"),
        one_row(float("inf"), 1.0),
        prediction_pb2.PredictRequest(
            model="sum",
            version="1.0.0",
            routing_key="k",
            rows=prediction_pb2.Rows(
                row_count=3, numbers=[1, 2, float("nan"), 3, 2**53, 1], texts=["de", "", "pe"]
            ),
        ),
    ],
    ids=["plain", "extreme", "missing", "infinite", "three rows, one with an error"],
)
def test_json_is_the_answer_of_grpc(envoy: Envoy, request_: prediction_pb2.PredictRequest) -> None:
    body = json_format.MessageToJson(request_)
    answered = _post(envoy, PREDICT, body)
    assert answered.status_code == 200, answered.text
    assert answered.headers["content-type"] == "application/json"
    by_json = json_format.Parse(answered.text, prediction_pb2.PredictResponse())
    by_grpc = prediction_pb2.PredictResponse.FromString(
        Wire(envoy.address).call(PREDICT, request_.SerializeToString())
    )
    for each in (by_json, by_grpc):
        assert each.row_count == request_.rows.row_count
        # Two equal calls differ in their times only.
        each.ClearField("server_time_us")
        each.ClearField("model_time_us")
    assert by_json.SerializeToString(deterministic=True) == by_grpc.SerializeToString(deterministic=True)


def test_an_error_is_json_with_its_reason(envoy: Envoy) -> None:
    answered = _post(envoy, PREDICT, json.dumps({"model": "nobody", "rows": {"row_count": 0}}))
    assert answered.status_code in (400, 404)
    status = json_format.Parse(answered.text, status_pb2.Status())
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "scorewire"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{", "Unexpected end of string"),
        ('{"model": "sum", "rows": 1}', "rows"),
        ('{"model": "sum", "rows": {"row_count": -1}}', "row_count"),
    ],
    ids=["cut off", "wrong type", "out of range"],
)
def test_json_that_is_no_request_is_refused(envoy: Envoy, body: str, told: str) -> None:
    answered = _post(envoy, PREDICT, body)
    assert answered.status_code == 400
    assert told in answered.text


def test_envoy_ignores_a_field_that_it_does_not_know(envoy: Envoy) -> None:
    request = json.loads(json_format.MessageToJson(one_row(1.0, 2.5)))
    assert _post(envoy, PREDICT, json.dumps({**request, "colour": 1})).status_code == 200


def test_reads_pass_and_changes_do_not(envoy: Envoy) -> None:
    listed = _post(envoy, "/scorewire.v1.ModelService/ListModels", "{}")
    assert json_format.Parse(listed.text, models_pb2.ListModelsResponse()).models[0].name == "sum"
    for method in (
        "scorewire.v1.ModelService/SetSplit",
        "inference.GRPCInferenceService/RepositoryModelUnload",
    ):
        assert _post(envoy, f"/{method}", "{}").status_code == 403
        with pytest.raises(grpc.RpcError) as failed:
            Wire(envoy.address).call(f"/{method}", b"")
        assert failed.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_without_servers_calls_fail_at_once_and_come_back(tmp_path: Path) -> None:
    body = json_format.MessageToJson(one_row(1.0, 2.5))
    with (
        two_servers(tmp_path / "servers", "auto", COMMAND) as servers,
        proxying(tmp_path / "envoy", [server.address for server in servers]) as envoy,
    ):
        envoy.wait_until_well(2)
        for server in servers:
            server.kill()
        envoy.wait_until_well(0)
        assert _post(envoy, PREDICT, body).status_code == 503
        servers[0].start()
        wait_until(lambda: _post(envoy, PREDICT, body).status_code == 200, "an answer")


def _post(envoy: Envoy, path: str, body: str) -> httpx.Response:
    return httpx.post(
        f"http://{envoy.address}{path}",
        content=body,
        headers={"content-type": "application/json"},
        timeout=TIMEOUT_SECONDS,
    )
