"""Models and their schemas over HTTP."""

from __future__ import annotations

import httpx

from tests.fake_models import CHURN


def test_all_models_are_listed(http: httpx.Client) -> None:
    models = http.get("/models").json()["models"]
    assert [each["name"] for each in models] == ["churn", "sum"]
    assert models[0]["default_version"] == "1.0.0"
    assert models[0]["versions"][0]["state"] == "serving"
    assert models[0]["routing"] == {"split": {}, "aliases": {}, "shadow": None}


def test_a_version_says_what_runs_it(real: httpx.Client) -> None:
    for model in real.get("/models").json()["models"]:
        for each in model["versions"]:
            assert each["runs_on"] in {"kernel", "onnxruntime"}
            assert each["runs_on_details"]


def test_a_model_has_its_schema_metrics_and_an_example(http: httpx.Client) -> None:
    model = http.get("/models/churn").json()
    assert model["description"] == CHURN.description
    assert model["metrics"] == CHURN.metrics
    assert [(each["name"], each["kind"]) for each in model["schema"]["features"]] == [
        ("age", "number"),
        ("country", "text"),
    ]
    assert model["schema"]["outputs"][0]["class_labels"] == ["no", "yes"]
    assert model["example"] == {"row": {"age": 0.0, "country": "text"}}


def test_a_version_or_a_model_that_does_not_exist_is_told(http: httpx.Client) -> None:
    answer = http.get("/models/churn", params={"version": "7.0.0"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "VERSION_NOT_FOUND")
    answer = http.get("/models/nothing")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "MODEL_NOT_FOUND")


def test_the_example_of_each_model_is_scored_without_an_error(real: httpx.Client) -> None:
    for model in real.get("/models").json()["models"]:
        example = real.get(f"/models/{model['name']}").json()["example"]
        answer = real.post(f"/models/{model['name']}:predict", json=example)
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.json()["prediction"]


def test_the_texts_that_a_model_knows_are_told(real: httpx.Client) -> None:
    features = real.get("/models/greeting").json()["schema"]["features"]
    assert features[0]["known_texts"] == ["hello", "bye"]
    assert features[0]["unknown_allowed"] is False
