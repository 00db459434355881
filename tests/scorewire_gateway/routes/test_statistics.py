"""Statistics over HTTP."""

from __future__ import annotations

import httpx


def test_statistics_count_the_calls_of_the_gateway(real: httpx.Client) -> None:
    row = {"x0": 1, "x1": 2, "country": "de"}
    before = real.get("/stats", params={"model": "sum"}).json()["statistics"]
    for _ in range(3):
        assert real.post("/models/sum:predict", json={"row": row}).status_code == 200
    (now,) = real.get("/stats", params={"model": "sum"}).json()["statistics"]
    assert now["calls"] - sum(each["calls"] for each in before) == 3
    assert now["scores"]["count"] == now["rows"] - now["failed_rows"]
    assert now["latency_seconds"]["quantiles"]["0.5"] > 0


def test_statistics_of_a_model_that_does_not_exist_are_told(real: httpx.Client) -> None:
    answer = real.get("/stats", params={"model": "nothing"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "MODEL_NOT_FOUND")


def test_a_name_that_is_too_long_is_refused(real: httpx.Client) -> None:
    answer = real.get("/stats", params={"model": "x" * 1000})
    assert answer.status_code == 400
    assert "model" in answer.json()["error"]["message"]
