from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from scorewire import AsyncClient, ResourceExhaustedError
from scorewire.testing import FakeServer
from tests.bundles import expected_value
from tests.processes import ServerProcess
from tests.scorewire_gateway.gateways import gateway_thread

SUM = [
    {"name": "x0", "shape": [2, 1], "datatype": "FP64", "data": [[1.0], [2.0]]},
    {"name": "x1", "shape": [2], "datatype": "INT32", "data": [1, 2]},
    {"name": "country", "shape": [2, 1], "datatype": "BYTES", "data": ["de", None]},
]


def infer(real: httpx.Client, model: str = "sum", **request: Any) -> httpx.Response:
    return real.post(f"/v2/models/{model}/infer", json={"inputs": SUM, **request})


def test_the_server_is_described_without_what_the_gateway_lacks(real: httpx.Client) -> None:
    described = real.get("/v2").json()
    assert described["name"] == "triton"
    assert described["version"].startswith("scorewire-")
    assert "binary_tensor_data" in described["extensions"]
    assert "model_repository" not in described["extensions"]


def test_health_is_told_by_the_code(real: httpx.Client, fake: FakeServer) -> None:
    for path, body in (
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/sum/ready", {"name": "sum", "ready": True}),
        ("/v2/models/sum/versions/1.0.0/ready", {"name": "sum", "ready": True}),
    ):
        answer = real.get(path)
        assert (answer.status_code, answer.json()) == (200, body)
    for path in ("/v2/models/none/ready", "/v2/models/sum/versions/9.9.9/ready"):
        answer = real.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (400, False)


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with gateway_thread("127.0.0.1:1") as http:
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/sum"):
            answer = http.get(path)
            assert answer.status_code == 503
            assert isinstance(answer.json()["error"], str)


def test_a_model_is_described(real: httpx.Client) -> None:
    described = real.get("/v2/models/sum").json()
    assert described == real.get("/v2/models/sum/versions/1.0.0").json()
    assert described["name"] == "sum"
    assert described["versions"] == ["1.0.0"]
    assert described["platform"] == "onnx_onnxv1"
    assert described["properties"] == {}
    assert described["inputs"][0] == {"name": "x0", "datatype": "FP64", "shape": [-1, 1]}
    assert described["outputs"] == [{"name": "value", "datatype": "FP64", "shape": [-1, 1]}]
    config = real.get("/v2/models/sum/config").json()
    assert config["input"][2]["data_type"] == "TYPE_STRING"
    assert config["max_batch_size"] > 0


def test_statistics_and_the_index_are_told(real: httpx.Client) -> None:
    assert infer(real).status_code == 200
    (one,) = real.get("/v2/models/sum/stats").json()["model_stats"]
    assert (one["name"], one["version"]) == ("sum", "1.0.0")
    assert one["inference_count"] >= 2
    assert one["inference_stats"]["success"]["count"] >= 1
    assert {each["name"] for each in real.get("/v2/models/stats").json()["model_stats"]} == {
        "sum",
        "classes",
        "greeting",
    }
    index = real.post("/v2/repository/index").json()
    assert {"name": "sum", "version": "1.0.0", "state": "READY", "reason": ""} in index


def test_rows_are_scored(real: httpx.Client) -> None:
    answer = infer(real, id="7", outputs=[{"name": "value"}])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("sum", "1.0.0", "7")
    (output,) = told["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("value", "FP64", [2, 1])
    assert output["data"] == [expected_value([1.0, 1.0], "de", 0.0), expected_value([2.0, 2.0], "", 0.0)]


def test_a_body_in_gzip_is_read(real: httpx.Client) -> None:
    content = gzip.compress(json.dumps({"inputs": SUM}).encode())
    answer = real.post("/v2/models/sum/infer", content=content, headers={"Content-Encoding": "gzip"})
    assert answer.json()["outputs"] == infer(real).json()["outputs"]


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/v2/models/none", 404, "Request for unknown model: 'none' is not found"),
        ("GET", "/v2/models/none/config", 404, "none"),
        ("GET", "/v2/models/sum/versions/9.9.9", 404, "9.9.9"),
        ("POST", "/v2/models/none/infer", 400, "JSON"),
        ("GET", "/v2/models/sum/infer", 501, "the gateway has no /v2/models/sum/infer with this method"),
        ("POST", "/v2/repository/models/sum/load", 501, "changes none"),
        ("POST", "/v2/repository/models/sum/unload", 501, "changes none"),
        ("GET", "/v2/systemsharedmemory/status", 501, "describes and runs models"),
        ("POST", "/v2/models/a%2Fb/infer", 501, "describes and runs models"),
    ],
)
def test_errors_are_those_of_the_protocol(
    real: httpx.Client, method: str, path: str, code: int, message: str
) -> None:
    answer = real.request(method, path)
    assert answer.status_code == code, answer.text
    assert set(answer.json()) == {"error"}
    assert message in answer.json()["error"]


def test_shared_memory_is_refused_in_the_words_of_the_server(real: httpx.Client) -> None:
    tensor = {"name": "x0", "shape": [1, 1], "datatype": "FP64", "parameters": {"shared_memory_region": "a"}}
    answer = real.post("/v2/models/sum/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert "this server does not support this parameter" in answer.json()["error"]


def test_a_time_to_wait_is_passed_on(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise ResourceExhaustedError("later")

    monkeypatch.setattr(AsyncClient, "open_inference", busy)
    answer = http.get("/v2")
    assert (answer.status_code, answer.json()) == (429, {"error": "later"})


def test_bodies_have_a_bound(server: ServerProcess) -> None:
    with gateway_thread(server.address, max_body_bytes=2000) as http:
        answer = http.post("/v2/models/sum/infer", content=b"[" + b" " * 2000)
        assert answer.status_code == 413
        assert "longer than 2000 bytes" in answer.json()["error"]
        answer = http.post(
            "/v2/models/sum/infer",
            content=gzip.compress(b" " * 10_000_000),
            headers={"Content-Encoding": "gzip"},
        )
        assert answer.status_code == 413


def test_credentials_and_deadlines_reach_the_server(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    async def watch(self: AsyncClient, request: Any, **options: Any) -> Any:
        seen.update(options)
        raise ResourceExhaustedError("seen")

    monkeypatch.setattr(AsyncClient, "open_inference", watch)
    http.get("/v2", headers={"Authorization": "Bearer x", "Grpc-Timeout": "500m"})
    assert seen["timeout"] == 0.5
    assert ("authorization", "Bearer x") in seen["metadata"]
    answer = http.get("/v2", headers={"Grpc-Timeout": "soon"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Grpc-Timeout: ")
