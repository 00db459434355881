"""Recorded predictions over HTTP: from a folder and from PostgreSQL, within bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scorewire_gateway import recorded
from scorewire_gateway.app import create_app
from scorewire_gateway.routes import records
from scorewire_gateway.settings import Settings, read_settings

from scorewire import Client
from scorewire.testing import FakeServer
from scorewire_contract.records.identity import PredictionId, new_start
from scorewire_contract.service.settings import SettingError
from scorewire_records.folder_reader import FolderReader
from scorewire_records.postgresql.schema import init
from scorewire_records.postgresql.store import PostgresStore
from scorewire_records.shipper import Shipper
from scorewire_records.start_state import StartStates
from tests.processes import ServerProcess, wait_until
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.routed import SHADOW
from tests.scorewire_records.postgresql.server import binaries, running_server
from tests.scorewire_records.spools import SpoolWriter, source

ROWS = [{"x0": 1.5, "x1": None, "country": "pé <b>"}, {"x0": 1e31, "x1": 2.0}]


@pytest.fixture(scope="module")
def http(routed: ServerProcess, routed_folder: Path) -> Iterator[httpx.Client]:
    with gateway_thread(routed.address, records=str(routed_folder / "records")) as client:
        yield client


def found(http: httpx.Client, prediction: str) -> list[dict[str, Any]]:
    """The rows of a prediction, once they are recorded."""
    wait_until(lambda: http.get(f"/records/{prediction}").status_code == 200, "the record")
    rows: list[dict[str, Any]] = http.get(f"/records/{prediction}").json()["records"]
    return rows


def test_a_prediction_is_found_by_its_id(routed: ServerProcess, http: httpx.Client) -> None:
    with Client(routed.address) as client:
        answered = client.predict("sum", ROWS, version="champion", routing_key="k")
    prediction = answered.ids[0].partition("/")[0]
    first, second = found(http, prediction)
    assert first["prediction_id"] == prediction
    assert (first["row"], second["row"]) == (0, 1)
    assert (first["model"], first["version"], first["route"]) == ("sum", "1.0.0", "champion")
    assert (first["route_kind"], first["routing_key"], first["principal"]) == ("alias", "k", None)
    assert first["features"] == {"x0": 1.5, "x1": None, "country": "pé <b>"}
    assert first["outputs"] == {"value": answered.scores[0]}
    assert first["error"] is None
    assert first["time"].endswith("+00:00")
    assert second["error"] == {"reason": "NUMBER_OUT_OF_RANGE", "feature": "x0"}
    assert second["outputs"] == {"value": None}


def test_the_newest_come_first(routed: ServerProcess, http: httpx.Client) -> None:
    with Client(routed.address) as client:
        ids = [client.predict("classes", {"x": float(number)}).id.partition("/")[0] for number in range(5)]
    found(http, ids[-1])
    answer = http.get("/records", params={"model": "classes", "limit": 3})
    assert answer.headers["Cache-Control"] == "no-store"
    assert [each["prediction_id"] for each in answer.json()["records"]] == ids[:1:-1]
    assert answer.json()["truncated"] is False
    everything = http.get("/records", params={"limit": 500}).json()["records"]
    assert {"sum", "classes"} <= {each["model"] for each in everything}
    times = [each["time"] for each in everything]
    assert times == sorted(times, reverse=True)
    shadows = [each for each in everything if each["route_kind"] == "shadow"]
    assert {each["version"] for each in shadows} == {SHADOW}
    assert all(each["shadow_of"] for each in shadows)


def test_an_answer_is_cut_before_it_is_too_long(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = http.get("/records", params={"limit": 10}).json()["records"]
    monkeypatch.setattr(records, "_MAX_BYTES", 1500)
    answer = http.get("/records", params={"limit": 10})
    assert answer.json()["truncated"] is True
    assert 0 < len(answer.json()["records"]) < len(whole) == 10
    assert len(answer.content) < 2000


def test_rows_beyond_the_limit_are_told_of(routed: ServerProcess, http: httpx.Client) -> None:
    with Client(routed.address) as client:
        prediction = client.predict("sum", ROWS[:1] * 5).ids[0].partition("/")[0]
    assert len(found(http, prediction)) == 5
    answer = http.get(f"/records/{prediction}", params={"limit": 4}).json()
    assert (len(answer["records"]), answer["truncated"]) == (4, True)


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        (f"/records/{PredictionId(new_start(), 0, 1)}", 404, "RECORD_NOT_FOUND"),
        ("/records/1", 400, "INVALID_ARGUMENT"),
        ("/records/..%2f..%2fetc", 404, "NOT_FOUND"),
        ("/records?limit=0", 400, "INVALID_REQUEST"),
        ("/records?limit=501", 400, "INVALID_REQUEST"),
        (f"/records?model={'m' * 201}", 400, "INVALID_REQUEST"),
    ],
    ids=["unknown", "no-id", "path", "none", "many", "name"],
)
def test_wrong_requests_are_told(http: httpx.Client, path: str, code: int, reason: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (code, reason)


def test_a_model_without_records_has_none(http: httpx.Client) -> None:
    answer = http.get("/records", params={"model": "../sum"})
    assert answer.json() == {"records": [], "truncated": False}


def test_records_are_off_unless_asked_for(fake: FakeServer) -> None:
    with gateway_thread(fake.address) as http:
        answer = http.get("/records")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "RECORDS_OFF")
        assert "--records" in answer.json()["error"]["message"]


def test_the_status_tells_whether_records_are_on(http: httpx.Client, real: httpx.Client) -> None:
    assert http.get("/status").json()["gateway"]["parts"] == ["records"]
    assert real.get("/status").json()["gateway"]["parts"] == []


def test_records_in_a_database_are_read_with_a_password_of_a_file(fake: FakeServer, tmp_path: Path) -> None:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    password = tmp_path / "password"
    password.write_text("any: this server trusts its machine\n")
    with running_server() as postgres:
        database = postgres.database()
        init(database)
        with SpoolWriter(tmp_path) as writer:
            writer.write(source(), 3, per_call=2)
            store = PostgresStore(database)
            Shipper(tmp_path, store, StartStates(tmp_path), threading.Event()).ship()
            store.close()
        with gateway_thread(fake.address, records=postgres.url(), records_password_file=password) as http:
            rows = http.get("/records", params={"limit": 3}).json()["records"]
            assert [each["prediction_id"].rpartition("-")[2] for each in rows] == ["2", "2", "1"]
            assert http.get(f"/records/{rows[0]['prediction_id']}").json()["records"] == rows[1::-1]
            postgres.stop()
            answer = http.get("/records")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "RECORDS_UNAVAILABLE")
    assert "127.0.0.1" not in answer.text


def test_a_folder_that_cannot_be_read_tells_no_path(fake: FakeServer, tmp_path: Path) -> None:
    day = tmp_path / "churn" / "1.0.0" / "2026-11-29"
    day.mkdir(parents=True)
    (day / f"{new_start()}-00000000.parquet").write_bytes(b"no parquet")
    with gateway_thread(fake.address, records=str(tmp_path)) as http:
        answer = http.get("/records")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "RECORDS_UNAVAILABLE")
    assert str(tmp_path) not in answer.text


def test_reads_that_take_long_end_and_do_not_pile_up(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def stuck(*_: object) -> None:
        go_on.wait()

    monkeypatch.setattr(FolderReader, "latest", stuck)
    monkeypatch.setattr(recorded, "_SECONDS", 0.2)
    monkeypatch.setattr(recorded, "_MARGIN_SECONDS", 0.1)
    try:
        with gateway_thread(fake.address, records=str(tmp_path)) as http:
            # The threads of the first two still run, so that the third gets none.
            for _ in range(3):
                answer = http.get("/records")
                assert (answer.status_code, answer.json()["error"]["reason"]) == (504, "RECORDS_TOO_SLOW")
            monkeypatch.setattr(recorded, "_MAX_WAITING", 0)
            answer = http.get("/records")
            assert (answer.status_code, answer.json()["error"]["reason"]) == (429, "TOO_MANY_READS")
            assert http.get("/health").status_code == 200
            go_on.set()
    finally:
        go_on.set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("/nowhere/at/all", "is not a folder"),
        ("postgresql://me:secret@db/records", "--records-password-file"),
        ("postgresql://me@db/records?password=secret", "--records-password-file"),
        ("mysql://db/records", "must be a folder or"),
    ],
)
def test_records_that_cannot_be_are_refused_at_the_start(given: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as refused:
        create_app(Settings(server="127.0.0.1:1", records=given))
    assert "secret" not in str(refused.value)


def test_a_password_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="for the database"):
        read_settings({"server": "127.0.0.1:1", "records_password_file": "secret"}, {})
    with pytest.raises(SettingError, match="is a folder"):
        create_app(
            Settings(server="127.0.0.1:1", records=str(tmp_path), records_password_file=tmp_path / "secret")
        )
