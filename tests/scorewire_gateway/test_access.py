"""The gateway in front of a server that wants to know who calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from scorewire import Caller, Code
from scorewire.testing import FakeServer
from tests.access_files import new_key
from tests.bundles import expected_value, write_classifier_bundle, write_sum_bundle
from tests.fake_models import CHURN, SUM
from tests.processes import serving, wait_until
from tests.scorewire_gateway.gateways import gateway_thread

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
TABLE = b"user_id,order_date,amount\nu1,2024-01-01,1\n"


@dataclass(frozen=True)
class Guarded:
    """A gateway in front of a server with an access file, and what principals show, by name."""

    http: httpx.Client
    shown: dict[str, dict[str, str]]

    def get(self, path: str, name: str, **options: Any) -> httpx.Response:
        return self.http.get(path, headers=self.shown[name], **options)

    def post(self, path: str, name: str, **options: Any) -> httpx.Response:
        headers = self.shown[name] | options.pop("headers", {})
        return self.http.post(path, headers=headers, **options)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("access")
    write_sum_bundle(folder / "models")
    write_classifier_bundle(folder / "models")
    files = folder / "files"
    files.mkdir()
    (files / "report.txt").write_text("the report")
    access, records = folder / "access.toml", folder / "records"
    keys = {
        "shop": new_key(access, "shop", predict="sum"),
        "classes": new_key(access, "classes", predict="classes", observe="classes"),
        "watcher": new_key(access, "watcher", observe="sum"),
        "operator": new_key(access, "operator", control="*"),
        "slow": new_key(access, "slow", predict="sum", limits={"calls_per_second": 0.2, "calls_burst": 2.0}),
    }
    shown = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    shown |= {
        "": {},
        "unknown": {"Authorization": "Bearer unknown"},
        "basic": {"Authorization": "Basic Og=="},
    }
    flags = ("--access", access, "--records", records)
    with (
        serving(folder, folder / "models", *flags) as server,
        gateway_thread(
            server.address,
            jobs=folder / "jobs",
            files=(("", files),),
            records=str(records),
        ) as http,
    ):
        yield Guarded(http, shown)


PATHS = [
    *("/models", "/models/sum", "/models/sum/schema", "/models/sum/openapi.json", "/stats", "/status"),
    *("/files", "/files/report.txt", "/records", "/records/7a1c6c2e-6f0e-4a86-8d1f-0a4d2f3c0b11-1"),
    *("/jobs", "/jobs/x", "/jobs/x/events", "/jobs/x/files/y", "/v2", "/v2/models/sum"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["", "unknown", "basic"])
def test_nothing_is_told_without_a_credential_that_the_server_takes(
    guarded: Guarded, path: str, name: str
) -> None:
    answer = guarded.get(path, name)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "report" not in answer.text.replace("/files/report.txt", "")


def test_health_and_the_pages_themselves_are_open(guarded: Guarded) -> None:
    for path in ("/health", "/v2/health/live", "/v2/health/ready", "/docs", "/console/"):
        assert guarded.get(path, "").status_code == 200, path


@pytest.mark.parametrize(
    ("name", "code"), [("shop", 200), ("classes", 403), ("watcher", 403), ("", 401), ("unknown", 401)]
)
def test_predictions_need_the_right_to_the_model(guarded: Guarded, name: str, code: int) -> None:
    answer = guarded.post("/models/sum:predict", name, json={"row": ROW})
    assert answer.status_code == code
    if code == 200:
        assert answer.json()["prediction"]["value"] == expected_value((1.0, 2.0), "de")


@pytest.mark.parametrize(("name", "code"), [("classes", 403), ("", 401), ("unknown", 401)])
@pytest.mark.parametrize("rows", [{"row": {"unknown": 1}}, {"rows": [{}]}])
def test_a_schema_that_is_remembered_tells_nothing_to_a_caller_without_a_right(
    guarded: Guarded, name: str, code: int, rows: dict[str, Any]
) -> None:
    assert guarded.post("/models/sum:predict", "shop", json={"row": ROW}).status_code == 200
    assert guarded.post("/models/sum:predict", "shop", json=rows).status_code in {200, 400}
    answer = guarded.post("/models/sum:predict", name, json=rows)
    assert answer.status_code == code
    assert "x0" not in answer.text
    table = guarded.post(
        "/models/sum:predict", name, content=b"unknown\n1\n", headers={"Content-Type": "text/csv"}
    )
    assert table.status_code == code
    assert "x0" not in table.text


def test_a_missing_model_is_no_other_refusal_than_a_missing_right(guarded: Guarded) -> None:
    names = ("sum", "nothing")
    answers = [guarded.get(f"/models/{name}", "classes") for name in names]
    assert [answer.status_code for answer in answers] == [403, 403]
    told = [answer.text.replace(name, "NAME") for name, answer in zip(names, answers, strict=True)]
    assert told[0] == told[1]


def test_each_caller_sees_its_models_only(guarded: Guarded) -> None:
    def models(name: str) -> list[str]:
        return [each["name"] for each in guarded.get("/models", name).json()["models"]]

    assert (models("shop"), models("classes"), models("operator")) == (
        ["sum"],
        ["classes"],
        ["classes", "sum"],
    )
    # Whoever asks first makes the parts that are kept.
    for name, own in [
        ("operator", {"classes", "sum"}),
        ("shop", {"sum"}),
        ("classes", {"classes"}),
        ("", set()),
    ]:
        document = guarded.get("/openapi.json", name).json()
        shown = {model for model in ("classes", "sum") if f"/models/{model}:predict" in document["paths"]}
        assert shown == own
        assert document["components"]["securitySchemes"]
    assert guarded.get("/openapi.json", "unknown").status_code == 401


def test_a_caller_beyond_its_limit_is_told_when_to_come_again(guarded: Guarded) -> None:
    answers = [guarded.post("/models/sum:predict", "slow", json={"row": ROW}) for _ in range(4)]
    refused = answers[-1]
    assert refused.status_code == 429
    assert refused.json()["error"]["reason"] == "CALLER_LIMIT"
    assert int(refused.headers["Retry-After"]) >= 1


def test_files_are_for_callers_with_any_right(guarded: Guarded) -> None:
    for name in ("shop", "watcher", "operator"):
        assert guarded.get("/files/report.txt", name).text == "the report"


def test_records_are_for_those_who_observe_their_model(guarded: Guarded) -> None:
    answer = guarded.post("/models/sum:predict", "shop", json={"row": ROW}).json()
    prediction = answer["record_id"].partition("/")[0]
    wait_until(lambda: guarded.get(f"/records/{prediction}", "watcher").status_code == 200, "the record")

    def latest(name: str, **query: str) -> int:
        return len(guarded.get("/records", name, params=query).json()["records"])

    assert latest("watcher") >= 1
    assert latest("watcher", model="sum") >= 1
    # Who observes another model learns nothing of this one.
    assert latest("classes") == 0
    assert guarded.get(f"/records/{prediction}", "classes").status_code == 404
    for name in ("classes", "shop", "operator"):
        assert guarded.get("/records", name, params={"model": "sum"}).status_code == 403


def test_jobs_are_changed_by_those_who_control_their_model(guarded: Guarded) -> None:
    query = {"kind": "features", "model": "repurchase", "name": "a.csv"}
    csv = {"Content-Type": "text/csv"}

    def submit(name: str) -> httpx.Response:
        return guarded.post("/jobs", name, params=query, content=TABLE, headers=csv)

    refused = {"shop": 403, "watcher": 403, "": 401, "unknown": 401}
    assert {name: submit(name).status_code for name in refused} == refused
    answer = submit("operator")
    assert answer.status_code == 202, answer.text
    path = f"/jobs/{answer.json()['job']['id']}"
    # Others with a right see it.
    assert guarded.get(path, "shop").status_code == 200
    changes: list[Callable[[str], httpx.Response]] = [
        lambda name: guarded.post(f"{path}:cancel", name),
        lambda name: guarded.post(f"{path}:publish", name),
        lambda name: guarded.http.delete(path, headers=guarded.shown[name]),
    ]
    for change in changes:
        assert {name: change(name).status_code for name in refused} == refused
    assert changes[0]("operator").status_code == 200
    assert changes[2]("operator").status_code == 204


def test_a_table_of_a_refused_caller_is_not_read(guarded: Guarded) -> None:
    csv = {"Content-Type": "text/csv"}
    query = {"kind": "features", "model": "repurchase", "name": "a.csv"}
    for name, code in (("classes", 403), ("", 401), ("unknown", 401)):
        answers = [guarded.post("/models/sum:predict", name, content=TABLE, headers=csv)]
        answers.append(guarded.post("/jobs", name, params=query, content=TABLE, headers=csv))
        for answer in answers:
            assert answer.status_code == code
            assert answer.headers["Connection"] == "close"
            assert answer.headers.get("WWW-Authenticate") == (None if code == 403 else "Bearer")


def test_a_form_is_refused_before_its_table_is_taken(guarded: Guarded) -> None:
    data = {"kind": "features", "model": "repurchase"}
    for name, code in (("shop", 403), ("", 401)):
        answer = guarded.post("/jobs", name, data=data, files={"file": ("a.csv", TABLE, "text/csv")})
        assert answer.status_code == code
    assert guarded.get("/jobs", "shop").json()["jobs"] == []


PARTS = (
    "/files",
    "/files/report.txt",
    "/records",
    "/records/7a1c6c2e-6f0e-4a86-8d1f-0a4d2f3c0b11-1",
    "/jobs",
)


@contextmanager
def _parts(server: str, folder: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A gateway with jobs, files and records."""
    for name in ("files", "records"):
        (folder / name).mkdir()
    (folder / "files" / "report.txt").write_text("the report")
    parts = {"jobs": folder / "jobs", "files": (("", folder / "files"),), "records": str(folder / "records")}
    with gateway_thread(server, **parts, **settings) as http:
        yield http


def test_what_the_gateway_offers_is_closed_while_the_server_does_not_answer(tmp_path: Path) -> None:
    with _parts("127.0.0.1:1", tmp_path, timeout=0.5) as http:
        csv = {"Content-Type": "text/csv"}
        answers = [http.get(path) for path in PARTS]
        answers.append(http.post("/jobs", params={"kind": "features"}, headers=csv))
        for answer in answers:
            assert answer.status_code == 503
            error = answer.json()["error"]
            assert error["reason"] == "SERVER_UNAVAILABLE"
            assert "the scoring server tells who may do this" in error["message"]


@pytest.mark.parametrize("settings", [{}, {"server_access": "off"}], ids=["open server", "off"])
def test_without_an_access_file_all_may_use_what_the_gateway_offers(
    tmp_path: Path, fake: FakeServer, settings: dict[str, Any]
) -> None:
    with _parts("127.0.0.1:1" if settings else fake.address, tmp_path, **settings) as http:
        assert [http.get(path).status_code for path in PARTS] == [200, 200, 200, 404, 200]


def test_a_right_that_is_gone_is_refused_at_the_next_request(tmp_path: Path, fake: FakeServer) -> None:
    fake.caller = Caller(principal="shop", observe=("sum",))
    with _parts(fake.address, tmp_path) as http:
        query = {"model": "sum"}
        assert http.get("/records", params=query).status_code == 200
        fake.caller = Caller(principal="shop", observe=("su",))
        answer = http.get("/records", params=query)
        assert answer.status_code == 403
        assert answer.json()["error"]["message"] == "the caller has no right to observe the model 'sum'"
        assert http.get("/records").json()["records"] == []
        fake.caller = Caller(principal="shop", control=("*",))
        assert http.get("/records").status_code == 403


def test_a_limit_is_not_waited_for_here() -> None:
    with FakeServer(CHURN, SUM) as fake, gateway_thread(fake.address) as http:
        fake.fail(Code.RESOURCE_EXHAUSTED, reason="CALLER_LIMIT", retry_after=0.001)
        answer = http.post("/models/sum:predict", content=json.dumps({"row": {"x": 1, "y": 2}}))
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
