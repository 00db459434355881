"""What all routes of the gateway have in common."""

from __future__ import annotations

import json

import httpx
import pytest
from scorewire_gateway.app import create_app
from scorewire_gateway.settings import Settings

from scorewire.testing import FakeServer
from scorewire_contract.service.logs import flush_logs
from scorewire_contract.service.settings import SettingError


def test_a_path_that_does_not_exist_is_told_in_json(http: httpx.Client) -> None:
    answer = http.get("/nothing/here")
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert "'/nothing/here'" in answer.json()["error"]["message"]


def test_a_method_that_a_path_does_not_have_is_told_in_json(http: httpx.Client) -> None:
    answer = http.delete("/health")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET"
    assert answer.json()["error"]["reason"] == "METHOD_NOT_ALLOWED"


def test_a_fault_is_logged_with_its_trace_and_leaves_as_a_fixed_text(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("scorewire.AsyncClient.models", broken)
    answer = http.get("/models")
    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == "INTERNAL"
    assert "secret" not in answer.text
    flush_logs()
    (line,) = [json.loads(each) for each in capfd.readouterr().err.splitlines() if "fault" in each]
    assert line["event"] == "request failed by a fault of the gateway"
    assert line["route"] == "/models"
    assert "ZeroDivisionError: a secret" in line["exception"]


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "host:port", "a:1,b:2 c"])
def test_an_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(SettingError, match="--server"):
        create_app(Settings(server=server))


def test_health_tells_whether_the_server_serves(fake: FakeServer, http: httpx.Client) -> None:
    answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "SERVING"})
    fake.serving = False
    answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "NOT_SERVING"})
    fake.stop()
    answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "NOT_SERVING"})


def test_status_tells_of_server_and_gateway(real: httpx.Client) -> None:
    answer = real.get("/status")
    assert answer.status_code == 200
    status = json.loads(answer.text)
    assert status["server"]["engine"] in ("native", "reference")
    assert status["versions"] == {"serving": 3}
    assert status["models"] == 3
    assert status["gateway"]["draining"] is False
