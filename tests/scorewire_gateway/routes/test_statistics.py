"""Statistics over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx

from scorewire import Client
from tests.processes import ServerProcess, wait_until
from tests.scorewire_gateway.gateways import gateway_thread


def _of_route(real: httpx.Client, route: str) -> dict[str, Any]:
    found = real.get("/stats", params={"model": "sum"}).json()["statistics"]
    return next((each for each in found if each["route"] == route), {})


def test_statistics_count_the_calls_of_the_gateway(real: httpx.Client) -> None:
    row = {"x0": 1, "x1": 2, "country": "de"}
    before = _of_route(real, "")
    for _ in range(3):
        assert real.post("/models/sum:predict", json={"row": row}).status_code == 200
    now = _of_route(real, "")
    assert now["calls"] - before.get("calls", 0) == 3
    assert now["scores"]["count"] == now["rows"] - now["failed_rows"]
    assert now["latency_seconds"]["quantiles"]["0.5"] > 0


def test_statistics_of_a_model_that_does_not_exist_are_told(real: httpx.Client) -> None:
    answer = real.get("/stats", params={"model": "nothing"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "MODEL_NOT_FOUND")


def test_a_name_that_is_too_long_is_refused(real: httpx.Client) -> None:
    answer = real.get("/stats", params={"model": "x" * 1000})
    assert answer.status_code == 400
    assert "model" in answer.json()["error"]["message"]


def test_the_ledger_of_records_is_that_of_the_server(routed: ServerProcess) -> None:
    with gateway_thread(routed.address) as http, Client(routed.address) as client:
        client.predict("classes", {"x": 1.0})

        def same() -> bool:
            found, expected = http.get("/stats/records").json()["records"], client.record_ledger()
            assert expected is not None
            return bool(found == asdict(expected) and found["offered"] == found["spooled"] > 0)

        wait_until(same, "a moment in which no row is on its way")


def test_a_server_without_records_has_no_ledger(real: httpx.Client) -> None:
    assert real.get("/stats/records").json() == {"records": None}
