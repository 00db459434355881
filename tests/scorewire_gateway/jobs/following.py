"""Submits jobs, and waits for what becomes of them."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.processes import wait_until

# Training takes some seconds, and both cores may be busy.
TRAINING_SECONDS = 300
CSV = {"Content-Type": "text/csv"}
# Trials of a job that ends only when it is stopped.
ENDLESS = {"model": "repurchase", "trials": "1000", "cut": "2020-09-15", "horizon_days": "60"}


def submit(client: httpx.Client, table: bytes, **parameters: Any) -> dict[str, Any]:
    """Submit a job that must be taken; returns it."""
    answer = client.post("/jobs", params=parameters, content=table, headers=CSV)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["job"]
    assert answer.headers["Location"] == f"jobs/{job['id']}"
    return job


def refuse(client: httpx.Client, table: bytes, **parameters: Any) -> tuple[int, str, str]:
    """Submit a job that must be refused; returns the HTTP code, the reason and the message."""
    answer = client.post("/jobs", params=parameters, content=table, headers=CSV)
    assert answer.status_code >= 400, answer.text
    error = answer.json()["error"]
    return answer.status_code, error["reason"], error["message"]


def get(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job as it is now."""
    answer = client.get(f"/jobs/{job['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["job"]
    return found


def wait_for_state(client: httpx.Client, job: dict[str, Any], state: str) -> None:
    """Wait until a job has a state."""
    wait_until(lambda: get(client, job)["state"] == state, f"a job that is {state}")


def wait_for_end(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Wait until a job has ended; returns it."""
    deadline = time.monotonic() + TRAINING_SECONDS
    while (found := get(client, job))["state"] in ("uploading", "waiting", "running"):
        assert time.monotonic() < deadline, f"the job does not end: {found}"
        time.sleep(0.05)
    return found
