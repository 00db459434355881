"""Explained predictions over HTTP, in JSON and in tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from scorewire import Explain
from scorewire.testing import FakeServer
from scorewire_contract.cli import main
from tests.fake_models import LEAVING, SHADE, SUM
from tests.scorewire_gateway.gateways import gateway_thread

ROW = {"age": 30, "country": "pe", "visits": 8, "plan": None}
REFUSED = {**ROW, "age": None}
VALUES = {"age": 3.0, "country": 1.0, "visits": -2.0, "plan": 0.0}
TABLE = "id,age,country,visits,plan\n1,30,pe,8,pro\n2,,pe,1,pro\n3,many,pe,1,pro\n4,5,,40,\n"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(LEAVING, SHADE, SUM) as server:
        yield server


@pytest.fixture
def http(fake: FakeServer) -> Iterator[httpx.Client]:
    with gateway_thread(fake.address) as client:
        yield client


def predict(http: httpx.Client, body: Any, model: str = "leaving") -> httpx.Response:
    return http.post(f"/models/{model}:predict", json=body)


def test_one_row_is_explained(http: httpx.Client, fake: FakeServer) -> None:
    answer = predict(http, {"row": ROW, "explain": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["contributions"] == {
        "output": "probabilities",
        "link": "sigmoid",
        "margins": [{"label": "yes", "base": -0.5, "margin": 1.5, "values": VALUES}],
    }
    assert fake.calls[-1].explain == Explain()
    assert "contributions" not in predict(http, {"row": ROW}).json()
    assert "contributions" not in predict(http, {"row": ROW, "explain": False}).json()
    assert fake.calls[-1].explain is None


def test_rows_are_explained_in_their_order(http: httpx.Client) -> None:
    answer = predict(http, {"rows": [ROW, REFUSED, {**ROW, "age": 5}], "explain": 1}).json()
    first, second, third = answer["contributions"]
    assert first["margins"][0]["values"] == {"age": 3.0}
    assert second is None
    assert third["margins"] == [{"label": "yes", "base": -0.5, "margin": -1.0, "values": {"visits": -2.0}}]
    assert len(answer["predictions"]) == 3
    alone = predict(http, {"row": REFUSED, "explain": True}).json()
    assert (list(alone["prediction"]), "contributions" in alone) == (["error"], False)


def test_of_several_classes_each_has_a_margin(http: httpx.Client) -> None:
    found = predict(http, {"row": {"x": 1, "y": 3}, "explain": True}, "shade").json()["contributions"]
    assert [(each["label"], each["values"]) for each in found["margins"]] == [
        ("red", {"x": 1.0, "y": -3.0}),
        ("green", {"x": 1.0, "y": 1.5}),
        ("blue", {"x": 1.0, "y": 6.0}),
    ]


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (2, Explain(top_k=2)),
        ({}, Explain()),
        ({"top_k": 0}, Explain()),
        ({"top_k": 3}, Explain(top_k=3)),
        ({"output": "probabilities", "top_k": 2}, Explain(top_k=2, output="probabilities")),
    ],
)
def test_what_is_wanted_reaches_the_server(
    http: httpx.Client, fake: FakeServer, wanted: Any, sent: Explain
) -> None:
    assert predict(http, {"row": ROW, "explain": wanted}).status_code == 200
    assert fake.calls[-1].explain == sent


@pytest.mark.parametrize(
    "wanted",
    [
        0,
        -1,
        1.5,
        "5",
        "true",
        None,
        [3],
        2**32,
        2**60,
        "NaN",
        -0.0,
        {"top_k": -1},
        {"top_k": True},
        {"top_k": "2"},
        {"top_k": 2**32},
        {"output": 7},
        {"output": None},
        {"topk": 3},
        {"top_k": None},
        {"top_k": "Infinity"},
    ],
)
def test_what_is_odd_is_refused(http: httpx.Client, fake: FakeServer, wanted: Any) -> None:
    answer = predict(http, {"row": ROW, "explain": wanted})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["status"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error["violations"][0]["field"].startswith("explain")
    assert all(call.method != "Predict" for call in fake.calls)


def test_a_model_that_cannot_explain_is_a_failed_precondition(http: httpx.Client) -> None:
    answer = predict(http, {"row": {"x": 1, "y": 2}, "explain": True}, "sum")
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": 400,
        "status": "FAILED_PRECONDITION",
        "reason": "NOT_EXPLAINED",
        "message": "the output 'value' is not explained",
    }
    answer = http.post(
        "/models/sum:predict?explain=1", content="x,y\n1,2\n", headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "NOT_EXPLAINED")


def upload(http: httpx.Client, query: str, accept: str = "text/csv") -> httpx.Response:
    headers = {"Content-Type": "text/csv", "Accept": accept}
    return http.post(f"/models/leaving:predict{query}", content=TABLE, headers=headers)


@pytest.mark.parametrize(
    ("query", "options"), [("?explain=2", ["--explain", "2"]), ("?explain=TRUE", ["--explain"])]
)
def test_a_table_has_the_columns_that_the_command_adds(
    http: httpx.Client, fake: FakeServer, tmp_path: Path, query: str, options: list[str]
) -> None:
    answer = upload(http, query)
    assert answer.status_code == 200, answer.text
    (tmp_path / "in.csv").write_text(TABLE, encoding="utf-8")
    arguments = ["predict", "--model", "leaving", "--address", fake.address, *options]
    arguments += ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert answer.content == (tmp_path / "out.csv").read_bytes()


def test_lines_of_json_are_explained(http: httpx.Client) -> None:
    lines = upload(http, "?explain=1&explain_output=probabilities", "application/x-ndjson").text.splitlines()
    first, second, _, last = map(json.loads, lines)
    assert [first[name] for name in ("margin", "explained_1", "contribution_1")] == [1.5, "age", 3.0]
    assert second["explained_1"] is None
    assert (last["explained_1"], last["contribution_1"]) == ("visits", -10.0)


@pytest.mark.parametrize("query", ["", "?explain=", "?explain=false"])
def test_a_table_is_not_explained_unless_that_is_asked_for(http: httpx.Client, query: str) -> None:
    (first, *_) = csv.DictReader(io.StringIO(upload(http, query).text))
    assert list(first)[-1] == "error"


@pytest.mark.parametrize(
    "query",
    [
        "?explain=0",
        "?explain=-1",
        "?explain=x",
        "?explain=1.5",
        "?explain=²",
        "?explain=99999999999",
        "?explain=4294967296",
        "?explain_output=probabilities",
        "?explain=false&explain_output=probabilities",
    ],
)
def test_odd_parameters_are_refused(http: httpx.Client, fake: FakeServer, query: str) -> None:
    answer = upload(http, query)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "explain" in answer.json()["error"]["message"]
    assert all(call.method == "GetModel" for call in fake.calls)


def test_models_tell_what_is_explained(http: httpx.Client) -> None:
    (version,) = http.get("/models/leaving").json()["versions"]
    assert version["explanations"] == [
        {"output": "probabilities", "link": "sigmoid", "details": "a Python function"}
    ]


def described(http: httpx.Client, model: str) -> Any:
    document = http.get(f"/models/{model}/openapi.json").json()
    operation = document["paths"][f"/models/{model}:predict"]["post"]
    return operation, document["components"]["schemas"]


def test_the_document_describes_requests_and_answers(http: httpx.Client) -> None:
    operation, schemas = described(http, "leaving")
    request = operation["requestBody"]["content"]["application/json"]
    kinds = [each["type"] for each in request["schema"]["properties"]["explain"]["anyOf"]]
    assert kinds == ["boolean", "integer", "object"]
    assert {each["name"] for each in operation["parameters"]} >= {"explain", "explain_output"}
    example = request["examples"]["one row, explained"]["value"]
    answer = predict(http, example).json()
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert answered.keys() >= answer.keys()
    found, schema = answer["contributions"], schemas["Contributions"]
    assert schema["properties"].keys() == found.keys() == set(schema["required"])
    assert schema["properties"]["margins"]["items"]["properties"].keys() == found["margins"][0].keys()


def test_the_document_of_a_model_that_is_not_explained_has_no_such_example(http: httpx.Client) -> None:
    operation, _ = described(http, "sum")
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert list(examples) == ["one row", "several rows"]
