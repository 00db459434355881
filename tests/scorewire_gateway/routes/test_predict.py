"""Predictions over HTTP in JSON."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from scorewire import Code
from scorewire.testing import FakeServer
from tests.scorewire_gateway.gateways import gateway_thread

ROW = {"age": 41, "country": "pe"}


def predict(http: httpx.Client, body: Any, model: str = "churn", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(
        f"/models/{model}:predict", content=content, headers={"Content-Type": "application/json"} | headers
    )


def test_one_row_gets_one_prediction(http: httpx.Client) -> None:
    answer = predict(http, {"row": ROW})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "model": "churn",
        "version": "1.0.0",
        "prediction": {"probabilities": [1 - 0.41, 0.41], "label": 0.0},
        "score": 0.41,
        "label": "no",
    }


def test_rows_get_predictions_in_their_order(http: httpx.Client) -> None:
    rows = [{"x": float(i), "y": 0.5} for i in range(500)]
    answer = predict(http, {"rows": rows}, "sum").json()
    assert answer["predictions"] == [{"value": i + 0.5} for i in range(500)]
    assert answer["scores"] == [i + 0.5 for i in range(500)]
    assert "labels" not in answer


def test_a_row_that_the_model_refuses_has_an_error_in_its_place(http: httpx.Client) -> None:
    error = {"reason": "MISSING_VALUE", "feature": "age", "message": "age is missing"}
    answer = predict(http, {"rows": [ROW, {"age": None, "country": "pe"}, ROW]}).json()
    assert answer["predictions"][1] == {"error": error}
    assert answer["scores"] == [0.41, None, 0.41]
    assert answer["labels"] == ["no", None, "no"]
    assert predict(http, {"row": {"age": "NaN", "country": "pe"}}).json() == {
        "model": "churn",
        "version": "1.0.0",
        "prediction": {"error": error},
    }


def test_version_and_routing_key_reach_the_server(http: httpx.Client, fake: FakeServer) -> None:
    assert predict(http, {"row": ROW, "routing_key": "customer-7"}).status_code == 200
    assert (fake.calls[-1].version, fake.calls[-1].routing_key) == ("", "customer-7")
    for path in ("/models/churn/versions/1.0.0:predict", "/models/churn:predict?version=1.0.0"):
        answer = http.post(path, json={"row": ROW})
        assert answer.json()["version"] == "1.0.0"
        assert fake.calls[-1].version == "1.0.0"
    answer = http.post("/models/churn/versions/9.9.9:predict", json={"row": ROW})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "VERSION_NOT_FOUND")


def test_records_have_the_ids_of_their_rows(http: httpx.Client, fake: FakeServer) -> None:
    fake.records = True
    assert predict(http, {"row": ROW}).json()["record_id"].endswith("/0")
    ids = predict(http, {"rows": [ROW, ROW, ROW]}).json()["record_ids"]
    assert [each.rpartition("/")[2] for each in ids] == ["0", "1", "2"]


def test_credentials_and_the_trace_are_passed_on_and_nothing_else(
    http: httpx.Client, fake: FakeServer
) -> None:
    headers = {"Authorization": "Bearer secret", "traceparent": "00-aa-bb-01", "tracestate": "x=1"}
    predict(http, {"row": ROW}, **headers, Cookie="a=b")
    metadata = dict(fake.calls[-1].metadata)
    assert {name.lower(): value for name, value in headers.items()}.items() <= metadata.items()
    assert "cookie" not in metadata


@pytest.mark.parametrize("value", ["ä".encode(), b"x" * 7000])
def test_a_credential_that_metadata_cannot_have_is_refused_without_showing_it(
    http: httpx.Client, value: bytes
) -> None:
    answer = http.post(
        "/models/churn:predict",
        content=b"{}",
        headers=[(b"Content-Type", b"application/json"), (b"Authorization", value)],
    )
    assert answer.status_code == 400
    assert "authorization" in answer.json()["error"]["message"]
    assert value.decode("latin-1") not in answer.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body is a JSON object"),
        ({}, 'either "row"'),
        ({"row": ROW, "rows": [ROW]}, 'either "row"'),
        ({"row": [ROW]}, "row: must be an object"),
        ({"row": None}, "row: must be an object"),
        ({"rows": ROW}, "rows: must be an array"),
        ({"rows": []}, "no rows to score"),
        ({"rows": [ROW, 5]}, "rows[1]"),
        ({"row": ROW, "routing_key": 5}, "routing_key: must be a text"),
        ({"row": ROW, "roting_key": "a"}, "roting_key: is not a field"),
        (
            {"row": {"age": 41, "contry": "pe"}},
            "row.contry: 'contry' is not a feature of this model",
        ),
        ({"row": {"age": "41", "country": "pe"}}, "row.age: takes a number"),
        ({"row": {"age": [41], "country": "pe"}}, "row.age: takes a number"),
        ({"row": {"age": 41, "country": 5}}, "row.country: takes a text"),
        ({"rows": [{"age": 41}, {"age": 41}]}, "as null where missing"),
        ({"rows": [ROW, {"age": {}, "country": "pe"}]}, "rows[1].age"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_what_to_do(
    http: httpx.Client, fake: FakeServer, body: Any, message: str
) -> None:
    answer = predict(http, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert message in answer.json()["error"]["message"]
    assert not [call for call in fake.calls if call.method == "Predict"]


def test_a_lone_surrogate_is_refused(http: httpx.Client) -> None:
    answer = predict(http, rb'{"row": {"age": 1, "country": "\ud800"}}')
    assert answer.status_code == 400
    assert "row.country: takes valid Unicode" in answer.json()["error"]["message"]


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_another_kind_of_body_is_refused_before_it_is_read(http: httpx.Client, media: str) -> None:
    answer = predict(http, {"row": ROW}, **{"Content-Type": media})
    assert answer.status_code == 415
    assert answer.json()["error"]["reason"] == "UNSUPPORTED_MEDIA_TYPE"
    assert answer.headers["Connection"] == "close"


def test_a_model_that_does_not_exist_is_told(http: httpx.Client) -> None:
    answer = predict(http, {"row": ROW}, "nothing")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "MODEL_NOT_FOUND")


def test_the_deadline_of_a_request_reaches_the_server(http: httpx.Client, fake: FakeServer) -> None:
    assert predict(http, {"row": ROW}).status_code == 200
    fake.delay = 60.0
    answer = predict(http, {"row": ROW}, **{"Grpc-Timeout": "50m"})
    assert (answer.status_code, answer.json()["error"]["status"]) == (504, "DEADLINE_EXCEEDED")


def test_the_timeout_of_the_gateway_bounds_the_deadline(fake: FakeServer) -> None:
    with gateway_thread(fake.address, timeout=0.2) as http:
        assert predict(http, {"row": ROW}).status_code in (200, 504)
        fake.delay = 60.0
        assert predict(http, {"row": ROW}, **{"Grpc-Timeout": "1H"}).status_code == 504


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5S", "123456789m", "5 m", "5x"])
def test_a_deadline_that_cannot_be_read_is_refused(http: httpx.Client, text: str) -> None:
    answer = predict(http, {"row": ROW}, **{"Grpc-Timeout": text})
    assert answer.status_code == 400
    assert "Grpc-Timeout: must be" in answer.json()["error"]["message"]


def test_a_full_server_is_told_with_its_reason(http: httpx.Client, fake: FakeServer) -> None:
    fake.fail(Code.RESOURCE_EXHAUSTED, "too many", reason="TOO_MANY_IN_FLIGHT")
    answer = predict(http, {"row": ROW})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (429, "TOO_MANY_IN_FLIGHT")


def test_a_large_batch_is_answered_in_order(http: httpx.Client, fake: FakeServer) -> None:
    fake.max_rows = 1000
    rows = [{"x": i, "y": 0} for i in range(5000)]
    answer = predict(http, {"rows": rows}, "sum").json()
    assert answer["scores"] == list(map(float, range(5000)))
