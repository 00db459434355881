"""A run: clients call at a steady rate while the number of servers changes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.bundles import write_sum_bundle
from tests.operations.scale.names import NAME, Names, serving_names
from tests.operations.scale.network import HUB, host, hub
from tests.processes import COMMAND, TIMEOUT_SECONDS, ServerProcess, serving

PORT = 8500
_SAMPLE_SECONDS = 0.5
# The spread is that of the rows within this time.
_WINDOW_SECONDS = 3.0

# Seconds since a change, and the rows that each server has answered by then.
Sample: TypeAlias = tuple[float, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        engine: the engine of the servers.
        clients: the number of client processes.
        rate: calls per second of each.
        counts: the number of servers in each phase; the first ones serve.
        settling_seconds: the time that a change may take, until the rows are spread evenly.
        hold_seconds: how long they must stay so.
        max_age_seconds: the servers' `--max-connection-age-seconds`.
    """

    engine: str = "native"
    clients: int = 4
    rate: float = 100.0
    counts: tuple[int, ...] = (2, 4, 2)
    settling_seconds: float = 15.0
    hold_seconds: float = 10.0
    max_age_seconds: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How one number of servers worked out.

    Attributes:
        servers: the number of servers.
        rows: rows that each server answered in the last `hold_seconds`.
        imbalance: the largest of `rows` over their mean, minus 1.
        settled_seconds: the time after the change from which each window of 3 seconds
            was as even as it must be; None if that took too long.
    """

    servers: int
    rows: tuple[int, ...]
    imbalance: float
    settled_seconds: float | None


@dataclass(slots=True)
class Outcome:
    """The phases of a run, and what its clients counted."""

    phases: list[Phase] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)
    questions: int = 0


def imbalance(rows: Sequence[float]) -> float:
    """How far the busiest server is above the mean; 0 is even, and infinite if no server has rows."""
    total = sum(rows)
    return max(rows) * len(rows) / total - 1 if total else float("inf")


def run(plan: Plan, folder: Path, *, limit: float = 0.1) -> Outcome:
    """Run the phases one after the other, in the namespace of this process; see `network.enter`."""
    outcome = Outcome()
    with ExitStack() as stack:
        stack.enter_context(hub())
        fleet = stack.enter_context(_Fleet(plan, folder))
        fleet.scale(plan.counts[0])
        names = stack.enter_context(serving_names(HUB, fleet.addresses))
        clients = [stack.enter_context(_calling(i, plan.rate)) for i in range(plan.clients)]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for count in plan.counts:
            outcome.phases.append(_phase(plan, fleet, names, count, limit))
        for client in clients:
            _collect(client, outcome)
        outcome.questions = names.questions
    return outcome


def _phase(plan: Plan, fleet: _Fleet, names: Names, count: int, limit: float) -> Phase:
    """Change the number of servers, and watch how the rows are spread, until they are spread evenly."""
    begin = time.monotonic()
    if count < len(fleet.servers):
        # As Kubernetes does: the name loses the addresses while the servers begin to drain.
        names.addresses = fleet.addresses[:count]
        fleet.scale(count)
    else:
        fleet.scale(count)
        begin = time.monotonic()
        names.addresses = fleet.addresses
    samples: list[Sample] = []
    while True:
        samples.append((time.monotonic() - begin, fleet.rows()))
        settled = _settled(samples, limit)
        now = samples[-1][0]
        if settled is not None and now >= settled + plan.hold_seconds:
            break
        if now >= plan.settling_seconds + plan.hold_seconds:
            settled = None
            break
        time.sleep(_SAMPLE_SECONDS)
    first = next(rows for seconds, rows in samples if seconds >= now - plan.hold_seconds)
    rows = tuple(after - before for after, before in zip(samples[-1][1], first, strict=True))
    return Phase(servers=count, rows=rows, imbalance=imbalance(rows), settled_seconds=settled)


def _settled(samples: Sequence[Sample], limit: float) -> float | None:
    """The time from which every window was within the limit; None if the last window was not."""
    since: float | None = None
    for begin, before in samples:
        end = next((each for each in samples if each[0] >= begin + _WINDOW_SECONDS), None)
        if end is None:
            break
        rows = [after - row for after, row in zip(end[1], before, strict=True)]
        if imbalance(rows) > limit:
            since = None
        elif since is None:
            since = begin
    return since


class _Fleet:
    """Servers, each in a namespace with an address of its own, first come first."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._models = folder / "models"
        self.servers: list[tuple[ServerProcess, ExitStack]] = []
        write_sum_bundle(self._models)

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for server, _unused in self.servers:
            server.signal()
        while self.servers:
            self.servers.pop()[1].close()

    @property
    def addresses(self) -> list[str]:
        """The addresses of the servers."""
        return [server.address.partition(":")[0] for server, _ in self.servers]

    def scale(self, count: int) -> None:
        """Start servers until there are `count`, or stop the last ones."""
        leaving = self.servers[count:]
        for server, _ in leaving:
            server.signal()
        while len(self.servers) > count:
            self.servers.pop()[1].close()
        while len(self.servers) < count:
            self._start(len(self.servers) + 1)

    def _start(self, number: int) -> None:
        stack = ExitStack()
        address = f"10.77.1.{number}"
        with stack:
            inside = stack.enter_context(host(address))
            flags = {
                "--engine": self._plan.engine,
                "--threads": "1",
                "--listen": f"{address}:{PORT}",
                "--metrics-port": "9090",
                "--max-connection-age-seconds": str(self._plan.max_age_seconds),
                "--drain-seconds": "2",
                "--state-file": str(self._folder / f"state-{number}.json"),
            }
            flat = [text for pair in flags.items() for text in pair]
            folder = self._folder / f"server-{number}"
            server = stack.enter_context(serving(folder, self._models, *flat, command=(*inside, COMMAND)))
            self.servers.append((server, stack.pop_all()))

    def rows(self) -> tuple[int, ...]:
        """The rows that each server has answered so far."""
        return tuple(
            round(
                sum(value for (name, _), value in server.metrics().items() if name == "scorewire_rows_total")
            )
            for server, _ in self.servers
        )


@contextmanager
def _calling(number: int, rate: float) -> Iterator[subprocess.Popen[str]]:
    """A client process in a namespace of its own."""
    address = f"dns://{HUB}:53/{NAME}:{PORT}"
    with host(f"10.77.2.{number + 1}") as inside:
        command = [*inside, sys.executable, "-m", "tests.operations.scale.client"]
        with subprocess.Popen(
            [*command, "--address", address, "--rate", str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _collect(client: subprocess.Popen[str], outcome: Outcome) -> None:
    output, _ = client.communicate(timeout=TIMEOUT_SECONDS)
    counts: dict[str, Any] = json.loads(output)
    outcome.answered += counts.get("answered", 0)
    outcome.failed += counts.get("failed", 0)
    outcome.wrong += counts.get("wrong", 0)
    outcome.failures += counts["failures"]
