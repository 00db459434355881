"""How jobs end before they are done: by their limits, by a client, and with their gateway."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from scorewire_gateway.app import create_app
from scorewire_gateway.settings import Settings

from scorewire_contract.service.start import StartError
from tests.processes import TIMEOUT_SECONDS, ServerProcess, wait_until
from tests.scorewire_gateway.gateways import gateway_process, gateway_thread
from tests.scorewire_gateway.jobs.conftest import NOWHERE, Gateways
from tests.scorewire_gateway.jobs.following import ENDLESS, get, submit, wait_for_end, wait_for_state
from tests.scorewire_gateway.jobs.tables import shop, users


def _is_tuning(client: httpx.Client, job: dict[str, Any]) -> bool:
    stage = get(client, job)["stage"]
    return stage is not None and stage["sentence"].startswith("Tuning")


def _children(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children(recursive=True) if child.is_running()]


def test_a_job_is_cancelled_while_it_trains(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_niceness=1)
    before = {child.pid for child in _children(os.getpid())}
    job = submit(client, shop(), **ENDLESS)
    wait_until(lambda: _is_tuning(client, job), "training")
    (process,) = (child for child in _children(os.getpid()) if child.pid not in before)
    assert process.nice() == os.nice(0) + 1
    assert (folder / job["id"] / "work" / "data.csv").exists()
    answer = client.post(f"/jobs/{job['id']}:cancel")
    assert answer.status_code == 200
    assert answer.json()["job"]["state"] == "cancelled"
    assert not process.is_running()
    assert not (folder / job["id"] / "work").exists()
    answer = client.post(f"/jobs/{job['id']}:cancel")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "JOB_ENDED")
    # Its log stays, and it can be deleted.
    assert "Tuning" in client.get(f"/jobs/{job['id']}/files/log.txt").text
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert not (folder / job["id"]).exists()


def test_a_job_that_runs_is_deleted_with_its_process(gateway: Gateways, folder: Path) -> None:
    client = gateway()
    before = len(_children(os.getpid()))
    job = submit(client, shop(), **ENDLESS)
    wait_for_state(client, job, "running")
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.get(f"/jobs/{job['id']}").status_code == 404
    assert not (folder / job["id"]).exists()
    wait_until(lambda: len(_children(os.getpid())) == before, "the end of the process")


def test_two_jobs_run_at_one_time_where_two_may(gateway: Gateways) -> None:
    client = gateway(jobs_running=2)
    first = submit(client, shop(), **ENDLESS)
    second = submit(client, users(), model="game-revenue", trials="1000")
    third = submit(client, users(), model="game-revenue", kind="features")
    wait_until(lambda: _is_tuning(client, first) and _is_tuning(client, second), "two that train")
    assert get(client, third)["state"] == "waiting"
    client.post(f"/jobs/{second['id']}:cancel")
    assert wait_for_end(client, third)["state"] == "succeeded"
    assert get(client, first)["state"] == "running"


def test_a_job_that_runs_too_long_fails_with_the_limit(gateway: Gateways) -> None:
    client = gateway(jobs_seconds=1.0)
    job = wait_for_end(client, submit(client, shop(), **ENDLESS))
    assert (job["state"], job["error"]["reason"]) == ("failed", "TIME_LIMIT"), job
    assert "ran longer than 1 seconds" in job["error"]["message"]


def test_a_job_that_needs_too_much_memory_fails_with_the_limit(gateway: Gateways) -> None:
    client = gateway(jobs_memory_bytes=256 << 20)
    header, rows = users().split(b"\n", 1)
    job = submit(client, b"\n".join([header, rows * 300]), model="game-revenue", kind="features")
    job = wait_for_end(client, job)
    assert (job["state"], job["error"]["reason"]) == ("failed", "MEMORY_LIMIT"), job
    assert "needed more memory than the 256 MB that it may take" in job["error"]["message"]


def test_a_job_ends_when_the_disk_has_no_room_left(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_disk_bytes=8 << 20)
    job = submit(client, shop(), **ENDLESS)
    wait_until(lambda: _is_tuning(client, job), "training")
    # Something else of the jobs grows.
    (folder / ".home" / "cache").write_bytes(b"a" * (9 << 20))
    job = wait_for_end(client, job)
    assert (job["state"], job["error"]["reason"]) == ("failed", "DISK_LIMIT"), job
    assert "larger than 8 MB" in job["error"]["message"]
    assert not (folder / job["id"] / "work").exists()


def test_the_oldest_jobs_that_have_ended_go(gateway: Gateways, folder: Path) -> None:
    client = gateway(jobs_kept=2, jobs_waiting=8)
    running = submit(client, shop(), **ENDLESS)
    jobs = [submit(client, shop(), **ENDLESS) for _ in range(3)]
    for job in jobs:
        assert client.post(f"/jobs/{job['id']}:cancel").status_code == 200
    kept = [job["id"] for job in client.get("/jobs").json()["jobs"]]
    assert kept == [jobs[2]["id"], jobs[1]["id"], running["id"]]
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == set(kept)


def _client(process: ServerProcess) -> httpx.Client:
    return httpx.Client(base_url=f"http://{process.address}", timeout=TIMEOUT_SECONDS, trust_env=False)


def test_no_process_outlives_a_gateway_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    with gateway_process(
        tmp_path / "gateway", NOWHERE, "--server-access", "off", "--jobs", folder, "--jobs-niceness", "0"
    ) as process:
        with _client(process) as client:
            lost = submit(client, shop(), **ENDLESS)
            waiting = submit(client, users(), model="game-revenue", kind="features")
            wait_until(lambda: _is_tuning(client, lost), "training")
            (child,) = _children(process.pid)
            upload = folder / "00000000000000ff"
            upload.mkdir()
            (upload / "job.json").write_text(json.dumps({"id": upload.name, "state": "uploading"}))
        process.signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not child.is_running(), "the end of the child")
    with (
        gateway_process(
            tmp_path / "gateway", NOWHERE, "--server-access", "off", "--jobs", folder, "--jobs-niceness", "0"
        ) as process,
        _client(process) as client,
    ):
        found = get(client, lost)
        assert (found["state"], found["error"]["reason"]) == ("failed", "GATEWAY_STOPPED")
        assert "upload the table again" in found["error"]["message"]
        assert not (folder / lost["id"] / "work").exists()
        assert not upload.exists()
        # The log of the job that was lost can still be read, and the one that waited goes on.
        assert "Tuning" in client.get(f"/jobs/{lost['id']}/files/log.txt").text
        assert wait_for_end(client, waiting)["state"] == "succeeded"


def test_a_gateway_that_stops_in_order_says_why_its_job_failed(folder: Path) -> None:
    before = {child.pid for child in _children(os.getpid())}
    with gateway_thread(NOWHERE, server_access="off", jobs=folder, jobs_niceness=0) as client:
        job = submit(client, shop(), **ENDLESS)
        waiting = submit(client, shop(), **ENDLESS)
        wait_until(lambda: _is_tuning(client, job), "training")
    assert {child.pid for child in _children(os.getpid())} <= before
    state = json.loads((folder / job["id"] / "job.json").read_text())
    assert (state["state"], state["error"]["reason"]) == ("failed", "GATEWAY_STOPPED")
    state = json.loads((folder / waiting["id"] / "job.json").read_text())
    assert state["state"] == "waiting"


def test_a_second_gateway_cannot_use_the_folder(gateway: Gateways, folder: Path) -> None:
    gateway()
    with pytest.raises(StartError, match="is used by another gateway, process"):
        create_app(Settings(server=NOWHERE, jobs=folder))


def test_a_job_whose_state_is_damaged_is_removed(folder: Path) -> None:
    with gateway_thread(NOWHERE, server_access="off", jobs=folder, jobs_niceness=0) as client:
        job = submit(client, shop(), **ENDLESS)
    state = folder / job["id"] / "job.json"
    state.write_bytes(state.read_bytes()[:100])
    strange = folder / "not-a-job"
    strange.mkdir()
    with gateway_thread(NOWHERE, server_access="off", jobs=folder, jobs_niceness=0) as client:
        assert client.get("/jobs").json()["jobs"] == []
    assert not (folder / job["id"]).exists()
    # Nothing is removed that is no job.
    assert strange.exists()
