"""Following a job by server-sent events."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from scorewire_gateway.jobs.job import Job
from scorewire_gateway.jobs.jobs import Jobs

from scorewire.testing import FakeServer
from tests.processes import TIMEOUT_SECONDS
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.jobs.conftest import NOWHERE, Gateways
from tests.scorewire_gateway.jobs.following import ENDLESS, submit, wait_for_state
from tests.scorewire_gateway.jobs.tables import shop, users


def _events(
    client: httpx.Client, job: dict[str, Any], last: str | None = None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The events of a job: id, name, data."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", f"/jobs/{job['id']}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


def test_each_change_is_told_until_the_end(gateway: Gateways) -> None:
    client = gateway()
    job = submit(client, users(), model="game-revenue", kind="features")
    told = list(_events(client, job))
    assert {name for _, name, _ in told} == {"job"}
    ids = [event_id for event_id, _, _ in told]
    assert len(set(ids)) == len(ids)
    last_id, _, last = told[-1]
    assert last["state"] == "succeeded"
    assert last == client.get(f"/jobs/{job['id']}").json()["job"]
    assert all(each["state"] in ("waiting", "running") for _, _, each in told[:-1])
    # A client that has seen the end is told to stay away; one that has not gets what it has missed.
    answer = client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": last_id})
    assert (answer.status_code, answer.content) == (204, b"")
    for seen in (ids[0], "", "0000-1", "nonsense"):
        assert [(event_id, each) for event_id, _, each in _events(client, job, seen)] == [(last_id, last)]


def test_a_client_that_comes_again_gets_no_event_twice(gateway: Gateways) -> None:
    client = gateway()
    running = submit(client, shop(), **ENDLESS)
    wait_for_state(client, running, "running")
    job = submit(client, shop(), **ENDLESS)
    (first_id, _, first) = next(_events(client, job))
    assert first["state"] == "waiting"
    again = _events(client, job, first_id)
    assert client.post(f"/jobs/{job['id']}:cancel").status_code == 200
    ((second_id, _, second),) = again
    assert second_id != first_id
    assert second["state"] == "cancelled"


def test_the_end_of_a_deleted_job_is_told(gateway: Gateways) -> None:
    client = gateway()
    job = submit(client, shop(), **ENDLESS)
    events = _events(client, job)
    next(events)
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    *_, (_, name, last) = events
    assert (name, last) == ("deleted", {"id": job["id"]})


def test_the_end_of_a_job_that_is_deleted_while_it_runs_is_not_taken_for_its_last_event(
    gateway: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, told = Jobs.cancel, threading.Event()

    async def slow(self: Jobs, job: Job) -> None:
        await cancel(self, job)
        assert await asyncio.to_thread(told.wait, TIMEOUT_SECONDS)

    monkeypatch.setattr(Jobs, "cancel", slow)
    client = gateway()
    job = submit(client, shop(), **ENDLESS)
    events = _events(client, job)
    next(events)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.delete, f"/jobs/{job['id']}")
        *_, (_, name, last) = events
        told.set()
        assert answer.result().status_code == 204
    assert (name, last) == ("deleted", {"id": job["id"]})


def test_more_clients_than_may_follow_are_refused(gateway: Gateways) -> None:
    client = gateway()
    job = submit(client, shop(), **ENDLESS)
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(base_url=client.base_url, timeout=60, limits=limits, trust_env=False) as many:
        events = [_events(many, job) for _ in range(64)]
        for each in events:
            next(each)
        answer = client.get(f"/jobs/{job['id']}/events")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (429, "TOO_MANY_WATCHERS")
        for each in events:
            each.close()  # type: ignore[attr-defined]


def test_events_end_when_the_server_takes_the_credential_no_more(folder: Path) -> None:
    with ExitStack() as stack:
        fake = stack.enter_context(FakeServer(api_keys=["first"]))
        client = stack.enter_context(gateway_thread(fake.address, jobs=folder, jobs_niceness=0))
        client.headers["Authorization"] = "Bearer first"
        job = submit(client, shop(), **ENDLESS)
        with httpx.Client(
            base_url=client.base_url, headers=client.headers, timeout=60, trust_env=False
        ) as other:
            events = _events(other, job)
            assert next(events)[1] == "job"
            fake.api_keys = frozenset({"second"})
            assert "deleted" not in {name for _, name, _ in events}
            assert other.get(f"/jobs/{job['id']}/events").status_code == 401
        client.headers["Authorization"] = "Bearer second"
        assert client.post(f"/jobs/{job['id']}:cancel").status_code == 200


def test_a_gateway_that_stops_ends_the_events(folder: Path) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(gateway_thread(NOWHERE, server_access="off", jobs=folder))
        job = submit(client, shop(), **ENDLESS)
        with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as following:
            events = _events(following, job)
            next(events)
            stack.close()
            # They end in order: an answer that was cut off would be an error here.
            assert all(name == "job" for _, name, _ in events)
