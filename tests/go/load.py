"""Runs the Go client that makes calls continuously, and reads its report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bundles import expected_value

_BONUS = f"{expected_value((0.0, 0.0), 'de'):g}"
# A call takes at most 30 seconds.
_END_SECONDS = 60


@dataclass
class Report:
    """Counts of calls by outcome, with failures by code and message."""

    answered: int = 0
    wrong: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        failures = "".join(f"\n    {count} x {text}" for text, count in self.failures.items())
        return f"{self.answered} answered, {self.wrong} wrong, {self.failed} failed{failures}"


@contextmanager
def steady_load(program: Path, addresses: list[str], rate: int) -> Iterator[Report]:
    """Make calls at a rate while the block runs, round robin over the addresses; then fill in the report."""
    report = Report()
    command = [program, "-bonus", _BONUS, "-addresses", ",".join(addresses), "-rate", str(rate)]
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield report
        said, _ = process.communicate(timeout=_END_SECONDS)
        report.__init__(**json.loads(said))  # type: ignore[misc]
    finally:
        process.kill()
        process.wait()


def burst(program: Path, address: str, calls: int) -> Report:
    """Make many calls at once on one connection."""
    command = [program, "-bonus", _BONUS, "-addresses", address, "-burst", str(calls)]
    said = subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, timeout=_END_SECONDS
    )
    return Report(**json.loads(said.stdout))
