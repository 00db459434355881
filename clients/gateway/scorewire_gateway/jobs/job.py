"""A job: what was asked for, how far it is, and what came of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MAX_LOG_LINES = 100


class JobState(StrEnum):
    """The state of a job; a job that has ended never changes its state."""

    UPLOADING = "uploading"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether this is a last state."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


# Not in the file of a job: these are of the running gateway only.
_IN_MEMORY = ("log", "revision", "changed", "deleted")
# Not in the list of jobs: these can be long.
_DETAILS = ("table", "result")


def now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(slots=True, kw_only=True)
class Job:
    """A job; to be used from one event loop.

    Attributes:
        id: 16 hex digits.
        kind: "train" or "features".
        model: the use case: "repurchase" or "game-revenue".
        settings: the settings as they were given, by name.
        file: the name of the table.
        bytes: the size of the table, as far as it is read.
        sha256: the SHA-256 of the table; "" until it is whole.
        state: the state.
        created_at: when the upload began, as ISO 8601 in UTC; so are the other times.
        started_at: when the job began to run.
        ended_at: when the job ended.
        stage: what the job does now: `sentence`, and `done` of `total` steps.
        table: how the table is read, as `scorewire train` tells it.
        error: why the job failed: `reason` for programs, `message` for people.
        result: what came of it, as `scorewire train --json` tells it.
        published: whether the bundle was put into the folder of `--jobs-models`.
        log: the last lines of the job's log.
        revision: how often the job changed since the gateway began.
        changed: set at the next change.
        deleted: whether the job was deleted.
    """

    id: str
    kind: str
    model: str
    settings: Mapping[str, Any]
    file: str
    bytes: int = 0
    sha256: str = ""
    state: JobState = JobState.UPLOADING
    created_at: str = field(default_factory=now)
    started_at: str | None = None
    ended_at: str | None = None
    stage: dict[str, Any] | None = None
    table: list[dict[str, str]] = field(default_factory=list)
    error: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    published: bool = False
    log: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LOG_LINES))
    revision: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    deleted: bool = False

    def tell(self) -> None:
        """Wake those who wait for a change."""
        self.revision += 1
        event, self.changed = self.changed, asyncio.Event()
        event.set()

    def end(self, state: JobState, *, reason: str = "", message: str = "") -> None:
        """Set a last state, with the error of a job that failed."""
        self.state, self.ended_at, self.stage = state, now(), None
        self.error = {"reason": reason, "message": message} if reason else None
        self.tell()

    def to_record(self) -> dict[str, Any]:
        """The job as it is kept in a file."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _IN_MEMORY}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Job:
        """The job of a file.

        Raises:
            TypeError: a key is missing or unknown.
            ValueError: the state is unknown.
        """
        return cls(**{**record, "state": JobState(record["state"])})

    def to_json(self, *, details: bool = True) -> dict[str, Any]:
        """The job as the gateway's clients see it; without details, as in the list of jobs."""
        told = self.to_record()
        if not details:
            return {name: value for name, value in told.items() if name not in _DETAILS}
        return told | {"log": list(self.log)}
