"""OpenAPI documents with the real fields of models, and the pages that show them."""

from __future__ import annotations

import csv
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from scorewire_gateway import documents
from scorewire_gateway.security import HEADERS

from scorewire.testing import FakeModel, FakeServer
from tests.fake_models import CHURN
from tests.scorewire_gateway.gateways import gateway_thread

NAMES = ["m0", "m1", "m2", "m3", "m4"]


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(_references, part.values()))
    if isinstance(part, list):
        return set().union(*map(_references, part))
    return set()


def test_the_document_of_a_model_has_its_real_fields(real: httpx.Client) -> None:
    document = real.get("/models/sum/openapi.json").json()
    post = document["paths"]["/models/sum:predict"]["post"]
    request = post["requestBody"]["content"]["application/json"]["schema"]
    row = _resolve(document, request["properties"]["row"])
    assert list(row["properties"]) == ["x0", "x1", "country"]
    assert row["required"] == ["x0"]
    assert row["additionalProperties"] is False
    number, special = row["properties"]["x0"]["anyOf"]
    assert number == {"type": "number", "minimum": -1e30, "maximum": 1e30}
    assert special["enum"] == ["NaN", "Infinity", "-Infinity"]
    assert row["properties"]["x1"]["anyOf"][-1] == {"type": "null"}
    assert "From -10 to 10" in row["properties"]["x0"]["description"]
    assert row["properties"]["country"]["anyOf"][0]["examples"] == ["de", "pe"]


def test_texts_that_are_a_must_are_an_enum(real: httpx.Client) -> None:
    document = real.get("/models/greeting/openapi.json").json()
    word = document["components"]["schemas"]["Row"]["properties"]["word"]
    assert word["anyOf"] == [{"type": "string", "enum": ["hello", "bye"]}]
    assert "others get an error" in word["description"]


def test_each_example_in_the_documents_works_when_it_is_sent(real: httpx.Client) -> None:
    document = real.get("/openapi.json").json()
    sent = 0
    for path, item in document["paths"].items():
        for example in (
            (item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {}))
            .get("examples", {})
            .values()
        ):
            answer = real.post(path.replace("{version}", "1.0.0"), json=example["value"])
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert not [each for each in told.get("predictions", [told.get("prediction")]) if "error" in each]
            sent += 1
    assert sent >= 3 * 2 * 2


@pytest.mark.parametrize("model", ["sum", "classes", "greeting"])
def test_the_example_of_a_table_works_when_it_is_sent(real: httpx.Client, model: str) -> None:
    document = real.get(f"/models/{model}/openapi.json").json()
    path = f"/models/{model}:predict"
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert {"application/vnd.apache.parquet", "multipart/form-data"} <= set(content)
    answer = real.post(path, content=content["text/csv"]["example"], headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    header, row = csv.reader(answer.text.splitlines())
    assert dict(zip(header, row, strict=True))["error"] == ""


def test_the_document_of_the_gateway_has_all_routes_and_models(real: httpx.Client) -> None:
    document = real.get("/openapi.json").json()
    paths = document["paths"]
    assert {"/health", "/status", "/models", "/models/{name}", "/stats", "/models/sum:predict"} <= set(paths)
    assert document["openapi"].startswith("3.1")
    for reference in _references(document):
        assert _resolve(document, {"$ref": reference})
    for item in paths.values():
        for operation in item.values():
            assert "422" not in operation["responses"]
            assert "default" in operation["responses"]


def test_a_version_has_a_document_of_its_own_schema(fake: FakeServer, http: httpx.Client) -> None:
    newer = FakeModel(name="sum", version="2.0.0", features={"z": float}, score=lambda row: row["z"])
    before = http.get("/models/sum/openapi.json").json()
    assert list(before["components"]["schemas"]["Row"]["properties"]) == ["x", "y"]
    assert "/models/sum:predict" in http.get("/openapi.json").json()["paths"]
    fake.serve(newer)
    now = http.get("/models/sum/openapi.json").json()
    assert list(now["components"]["schemas"]["Row"]["properties"]) == ["z"]
    old = http.get("/models/sum/openapi.json", params={"version": "1.0.0"}).json()
    assert old == before
    whole = http.get("/openapi.json").json()
    assert list(whole["components"]["schemas"]["sum.Row"]["properties"]) == ["z"]


def test_the_documents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_FEATURES", 10)
    monkeypatch.setattr(documents, "MAX_MODELS", 4)
    monkeypatch.setattr(documents, "MAX_KEPT", 2)
    models = [
        FakeModel(name=f"m{i}", features={f"x{n}": float for n in range(size)}, score=lambda _: 0.0)
        for i, size in enumerate([4, 11, 4, 4, 1])
    ]
    with FakeServer(*models) as fake, gateway_thread(fake.address) as http:
        for _ in range(2):
            document = http.get("/openapi.json").json()
            shown = {
                path.split("/")[2].partition(":")[0] for path in document["paths"] if "/models/m" in path
            }
            assert shown == {"m0", "m2"}
            for name in ("m1", "m3", "m4"):
                assert f"`{name}`" in document["info"]["description"]
                own = http.get(f"/models/{name}/openapi.json").json()
                assert f"/models/{name}:predict" in own["paths"]


def test_the_page_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        assert "//" not in link
        answer = http.get(f"/{link}")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "<script>" not in page.text
    assert http.get("/docs/secrets").status_code == 404


def test_the_fake_model_has_a_document(http: httpx.Client) -> None:
    document = http.get("/models/churn/openapi.json").json()
    assert CHURN.description in document["info"]["description"]
    outputs = document["components"]["schemas"]["Prediction"]["properties"]
    assert outputs["probabilities"]["description"] == "In the order of the classes: no, yes."
    assert (outputs["probabilities"]["minItems"], outputs["probabilities"]["maxItems"]) == (2, 2)


@pytest.mark.parametrize("path", ["/openapi.json", "/models/sum/openapi.json"])
def test_calls_go_to_where_the_document_is_from_also_below_a_path(http: httpx.Client, path: str) -> None:
    (server,) = http.get(path).json()["servers"]
    assert urljoin(f"https://example.com/scores{path}", server["url"]) == "https://example.com/scores/"
