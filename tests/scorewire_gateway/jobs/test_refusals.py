"""Requests for jobs that are refused: each has a clear text, and nothing of it stays."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest
from scorewire_gateway.jobs import intake

from tests.processes import TIMEOUT_SECONDS, wait_until
from tests.scorewire_gateway.gateways import gateway_process, gateway_thread
from tests.scorewire_gateway.jobs.conftest import NOWHERE, Gateways
from tests.scorewire_gateway.jobs.following import CSV, ENDLESS, refuse, submit, wait_for_state
from tests.scorewire_gateway.jobs.tables import shop

# Lets the limits allow nearly everything.
HUGE = 1 << 50


def _kept(folder: Path) -> list[str]:
    """The files of jobs; not those that all jobs share."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def _listed(client: httpx.Client) -> list[dict[str, object]]:
    jobs: list[dict[str, object]] = client.get("/jobs").json()["jobs"]
    return jobs


@pytest.mark.parametrize(
    ("parameters", "reason", "message"),
    [
        ({}, "INVALID_REQUEST", "model: is one of repurchase, game-revenue"),
        ({"model": "churn"}, "INVALID_REQUEST", "model: is one of repurchase, game-revenue"),
        ({"kind": "serve"}, "INVALID_REQUEST", "kind: is one of train, features"),
        ({"trial": "1"}, "INVALID_REQUEST", "did you mean 'trials'?"),
        ({"backend": "dask"}, "INVALID_REQUEST", "backend: is not a setting of train repurchase"),
        ({"mlflow_uri": "http://a"}, "INVALID_REQUEST", "mlflow_uri: is not a setting"),
        ({"output": "elsewhere"}, "INVALID_REQUEST", "output: is not a setting"),
        ({"encoding": "a\nb"}, "INVALID_REQUEST", "at most 200 printable characters"),
        ({"encoding": "a" * 201}, "INVALID_REQUEST", "at most 200 printable characters"),
        ({"trials": ["1", "2"]}, "INVALID_REQUEST", "trials: is given too often"),
        ({"column": ["customer=a"] * 33}, "INVALID_REQUEST", "column: is given too often"),
        ({"name": "shop.xlsx"}, "INVALID_REQUEST", "name: ends in .csv or .parquet"),
        ({"trials": "1001"}, "INVALID_SETTING", "trials is 1001: choose 1 to 1000"),
        ({"trials": "many"}, "INVALID_SETTING", "'many' is not a valid integer"),
        ({"seed": "-1"}, "INVALID_SETTING", "seed is -1: choose one from 0 to 4294967295"),
        ({"cut": "soon"}, "INVALID_SETTING", "'soon' does not match the format '%Y-%m-%d'"),
        ({"column": "customer"}, "INVALID_SETTING", "'customer' is not like customer=ID_CLIENTE"),
        ({"version": "../../up"}, "INVALID_SETTING", "version '../../up' is not semantic"),
        ({"encoding": "--help"}, "INVALID_SETTING", "encoding is '--help', which is unknown"),
        ({"horizon_days": "0"}, "INVALID_SETTING", "horizon_days is 0: choose 1 to 3650"),
        ({"model": "game-revenue", "cut": "2020-01-01"}, "INVALID_REQUEST", "cut: is not a setting of"),
        ({"kind": "features", "trials": "1"}, "INVALID_REQUEST", "not a setting of features repurchase"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_setting_that_is_wrong_is_refused_before_the_table_is_kept(
    shared: httpx.Client, shared_folder: Path, parameters: dict[str, object], reason: str, message: str
) -> None:
    given = {"model": "repurchase"} | parameters if parameters else {}
    told = refuse(shared, shop(), **given)
    assert told[:2] == (400, reason)
    assert message in told[2]
    assert _kept(shared_folder) == []
    assert _listed(shared) == []


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gateway that refuses everything that it gets."""
    return tmp_path_factory.mktemp("refusals") / "jobs"


@pytest.fixture(scope="module")
def shared(shared_folder: Path) -> Iterator[httpx.Client]:
    """The client of that gateway."""
    with gateway_thread(NOWHERE, server_access="off", jobs=shared_folder, max_upload_bytes=1 << 20) as client:
        yield client


def test_bodies_of_other_kinds_are_refused(shared: httpx.Client) -> None:
    for media_type in ("application/x-www-form-urlencoded", "text/plain", "application/json", ""):
        answer = shared.post(
            "/jobs", params={"model": "repurchase"}, content=shop(), headers={"Content-Type": media_type}
        )
        assert answer.status_code == 415
        assert answer.json()["error"]["reason"] == "UNSUPPORTED_MEDIA_TYPE"
    answer = shared.post(
        "/jobs",
        params={"model": "repurchase"},
        content=shop(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert "name is missing" in answer.json()["error"]["message"]
    assert refuse(shared, b"", model="repurchase")[1] == "EMPTY_TABLE"
    assert _listed(shared) == []


def test_pages_of_other_origins_change_nothing(shared: httpx.Client, gateway: Gateways) -> None:
    form = {"data": {"model": "repurchase"}, "files": {"file": ("shop.csv", shop(), "text/csv")}}
    ours = f"http://{shared.base_url.host}:{shared.base_url.port}"
    foreign = (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{shared.base_url.host}:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        # The same host over plain HTTP, which anybody on the way could have written.
        {"Sec-Fetch-Site": "cross-site", "Origin": ours},
    )
    for headers in foreign:
        for answer in (
            shared.post("/jobs", headers=headers, **form),  # type: ignore[arg-type]
            shared.post("/jobs/0123456789abcdef:cancel", headers=headers),
            shared.post("/jobs/0123456789abcdef:publish", headers=headers),
            shared.delete("/jobs/0123456789abcdef", headers=headers),
        ):
            assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "ORIGIN_NOT_ALLOWED")
    # A proxy may have sent another Host than the browser.
    proxied = {"Origin": "https://gateway.example", "Sec-Fetch-Site": "same-origin"}
    for headers in ({"Origin": ours}, {"Sec-Fetch-Site": "same-origin"}, proxied, {}):
        assert shared.post("/jobs/0123456789abcdef:cancel", headers=headers).status_code == 404
    allowing = gateway(cors_origin=("http://evil.example",))
    assert allowing.delete("/jobs/0123456789abcdef", headers=foreign[0]).status_code == 404


def test_a_hundred_refused_uploads_leave_nothing_behind(shared: httpx.Client, shared_folder: Path) -> None:
    too_large = b"a" * ((1 << 20) + 1)

    def chunks() -> Iterator[bytes]:
        # The length is not announced, so the gateway finds it out.
        for _ in range(24):
            yield b"a" * (1 << 16)

    for number in range(100):
        if number % 10:
            code, reason, message = refuse(shared, too_large, model="repurchase")
        else:
            answer = shared.post("/jobs", params={"model": "game-revenue"}, content=chunks(), headers=CSV)
            code, error = answer.status_code, answer.json()["error"]
            reason, message = error["reason"], error["message"]
        assert (code, reason) == (413, "UPLOAD_TOO_LARGE")
        assert "1,048,576 bytes that --max-upload-bytes allows" in message
    assert _kept(shared_folder) == []
    assert _listed(shared) == []


def test_an_upload_that_is_cut_off_leaves_nothing_behind(shared: httpx.Client, shared_folder: Path) -> None:
    url = shared.base_url
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(
            b"POST /jobs?model=repurchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 1000000\r\n\r\n" + b"a" * 200_000
        )
        wait_until(lambda: len(_kept(shared_folder)) == 1, "an upload")
        assert [job["state"] for job in _listed(shared)] == ["uploading"]
    wait_until(lambda: _listed(shared) == [], "the end of the upload")
    assert _kept(shared_folder) == []


def test_an_upload_that_stands_still_ends(gateway: Gateways, folder: Path) -> None:
    client = gateway(max_stall_seconds=0.5)
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(
            b"POST /jobs?model=repurchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 1000\r\n\r\ncustomer"
        )
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"BODY_TOO_SLOW" in answer
    assert _kept(folder) == []


def test_an_upload_can_be_deleted(gateway: Gateways, folder: Path) -> None:
    client = gateway()
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(
            b"POST /jobs?model=repurchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 4000000\r\n\r\n"
        )
        wait_until(lambda: len(_listed(client)) == 1, "an upload")
        assert client.delete(f"/jobs/{_listed(client)[0]['id']}").status_code == 204
        connection.sendall(b"a" * 2_000_000)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 499 ")
    wait_until(lambda: _listed(client) == [], "the end of the upload")
    assert _kept(folder) == []


def test_an_upload_that_is_deleted_in_its_last_moment_does_not_run(
    gateway: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, reached, goes_on = intake._sync, threading.Event(), threading.Event()

    def slow(file: BinaryIO) -> None:
        reached.set()
        assert goes_on.wait(TIMEOUT_SECONDS)
        sync(file)

    monkeypatch.setattr(intake, "_sync", slow)
    client = gateway()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(refuse, client, shop(), model="repurchase")
        assert reached.wait(TIMEOUT_SECONDS)
        assert client.delete(f"/jobs/{_listed(client)[0]['id']}").status_code == 204
        goes_on.set()
        assert told.result()[:2] == (499, "JOB_DELETED")
    assert _listed(client) == []
    assert _kept(folder) == []


def test_more_jobs_than_may_wait_are_refused(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_waiting=2)
    first = submit(client, shop(), **ENDLESS)
    wait_for_state(client, first, "running")
    waiting = [submit(client, shop(), **ENDLESS) for _ in range(2)]
    places = [client.get(f"/jobs/{job['id']}").json()["job"]["position"] for job in waiting]
    assert places == [1, 2]
    assert refuse(client, shop(), **ENDLESS)[:2] == (429, "TOO_MANY_JOBS")
    assert len(_kept(folder)) == 3
    # The place of one that is cancelled is free again.
    assert client.post(f"/jobs/{waiting[0]['id']}:cancel").json()["job"]["state"] == "cancelled"
    submit(client, shop(), **ENDLESS)


def test_a_table_for_which_there_is_no_room_is_refused(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_disk_bytes=100_000)
    code, reason, message = refuse(client, shop(), model="repurchase")
    assert (code, reason) == (507, "DISK_FULL")
    assert "delete jobs that have ended" in message
    assert _kept(folder) == []


def test_the_disk_keeps_its_free_bytes(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_free_bytes=HUGE)
    assert refuse(client, shop(), model="repurchase")[:2] == (507, "DISK_FULL")
    assert _kept(folder) == []


def test_a_disk_that_takes_no_more_refuses_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    with gateway_process(
        tmp_path / "gateway", NOWHERE, "--server-access", "off", "--jobs", folder
    ) as process:
        # As a full disk does, this lets writing fail from some byte on.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, 50_000))
        with httpx.Client(base_url=f"http://{process.address}", timeout=60, trust_env=False) as client:
            assert refuse(client, shop(), model="repurchase")[:2] == (507, "DISK_FULL")
            assert _kept(folder) == []
            assert _listed(client) == []


def test_jobs_are_off_without_their_folder(http: httpx.Client) -> None:
    for answer in (http.get("/jobs"), http.get("/jobs/0123456789abcdef"), http.delete("/jobs/0")):
        assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "JOBS_OFF")
    assert refuse(http, shop(), model="repurchase")[:2] == (404, "JOBS_OFF")
    assert "/jobs" not in http.get("/openapi.json").json()["paths"]


def test_files_are_private(gateway: Gateways, folder: Path) -> None:
    client = gateway()
    job = submit(client, shop(), **ENDLESS)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / job["id"]).stat().st_mode & 0o077 == 0
    table = folder / job["id"] / "work" / "data.csv"
    assert table.stat().st_mode & 0o077 == 0
