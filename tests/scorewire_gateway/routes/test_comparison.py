"""The comparison of two versions over HTTP is that of the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from scorewire_gateway.routes import comparison

from scorewire import Client
from scorewire.comparison import compare_versions
from scorewire.testing import FakeServer
from tests.processes import ServerProcess
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.routed import SHADOW, SPLIT


@pytest.fixture(scope="module")
def http(routed: ServerProcess) -> Iterator[httpx.Client]:
    with gateway_thread(routed.address) as client:
        yield client


def test_the_versions_of_a_split_are_compared_as_the_sdk_compares_them(
    routed: ServerProcess, http: httpx.Client
) -> None:
    found = http.get("/models/sum/comparison").json()
    with Client(routed.address) as client:
        status = client.model("sum").status
        expected = compare_versions(status.routing, client.statistics("sum"), "1.0.0", "1.1.0")
    assert (found["a"]["version"], found["b"]["version"]) == ("1.0.0", "1.1.0")
    assert [found["a"]["weight"], found["b"]["weight"]] == list(SPLIT.values())
    assert found["sample_ratio"] == expected.sample_ratio
    assert expected.scores is not None
    assert found["scores"] == {
        "p_value": expected.scores.p_value,
        "size": expected.scores.size,
        "differs": True,
    }
    for side, counted in (("a", expected.a.counted), ("b", expected.b.counted)):
        assert (found[side]["calls"], found[side]["rows"]) == (counted.calls, counted.rows)
        buckets = [(each.inner, each.outer, each.count) for each in counted.scores.buckets]
        told = found[side]["scores"]["buckets"]
        assert [(each["inner"], each["outer"], each["count"]) for each in told] == buckets
    assert found["levels"] == {"sample_ratio": 0.001, "difference": 0.01}


def test_a_version_is_compared_with_its_shadow(http: httpx.Client) -> None:
    found = http.get("/models/sum/comparison", params={"a": "1.0.0", "b": SHADOW}).json()
    assert (found["a"]["role"], found["b"]["role"]) == ("answers", "shadow")
    # Copies run when there is time, so that their latency says nothing; neither does their number.
    assert found["latency"] is None
    assert found["sample_ratio"] is None
    assert found["scores"]["differs"] in (True, False)


def test_only_the_calls_of_the_next_seconds_are_compared(routed: ServerProcess, http: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool, Client(routed.address) as client:
        comparing = pool.submit(
            http.get, "/models/sum/comparison", params={"a": "1.0.0", "b": "1.1.0", "seconds": 2}
        )
        while not comparing.done():
            client.predict("sum", {"x0": 1.0})
        found = comparing.result().json()
    assert found["a"]["rows"] + found["b"]["rows"] > 0
    counted = http.get("/models/sum/comparison").json()
    assert found["a"]["calls"] < counted["a"]["calls"]


@pytest.mark.parametrize(
    ("path", "parameters", "code", "reason"),
    [
        ("sum", {"a": "1.0.0"}, 400, "INVALID_ARGUMENT"),
        ("sum", {"a": "1.0.0", "b": "1.0.0"}, 400, "NOT_COMPARABLE"),
        ("sum", {"a": "1.0.0", "b": "7.0.0"}, 400, "NOT_COMPARABLE"),
        ("classes", {}, 400, "NOT_COMPARABLE"),
        ("nothing", {}, 404, "MODEL_NOT_FOUND"),
        ("sum", {"seconds": "61"}, 400, "INVALID_REQUEST"),
        ("sum", {"seconds": "-1"}, 400, "INVALID_REQUEST"),
        ("sum", {"seconds": "nan"}, 400, "INVALID_REQUEST"),
    ],
)
def test_what_cannot_be_compared_is_told(
    http: httpx.Client, path: str, parameters: dict[str, str], code: int, reason: str
) -> None:
    answer = http.get(f"/models/{path}/comparison", params=parameters)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (code, reason)


def test_comparisons_that_keep_requests_open_are_few(
    routed: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_MAX_COUNTING", 0)
    with gateway_thread(routed.address) as http:
        answer = http.get("/models/sum/comparison", params={"seconds": 1})
    assert answer.status_code == 429
    assert answer.json()["error"]["reason"] == "TOO_MANY_COMPARISONS"
    assert answer.headers["Retry-After"] == "10"


def test_comparisons_that_begin_at_once_are_few_too(
    routed: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_MAX_COUNTING", 2)
    with gateway_thread(routed.address) as http, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(http.get, "/models/sum/comparison", params={"seconds": 5}) for _ in range(12)]
        codes = [each.result().status_code for each in asked]
    assert codes.count(429) == 10


def test_a_server_that_is_away_is_told(fake: FakeServer) -> None:
    with gateway_thread(fake.address, timeout=1.0) as http:
        fake.stop()
        assert http.get("/models/churn/comparison").status_code in (503, 504)
