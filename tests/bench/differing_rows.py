"""Compares a row that is repeated with rows that differ: `python -m tests.bench.differing_rows`.

It prints the processor time of the native engine for a call, which other work on the
machine changes little. The loads take turns, with 64 calls in flight on one connection.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

from tests.bench.scored_model import FEATURES, NAME, make_model
from tests.processes import COMMAND, ServerProcess, serving

ROUNDS = 5
ROWS = 1000


def main() -> None:
    """Print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = make_model(folder / "models", train_rows=20_000)
        frame = pd.DataFrame(model.rows[:ROWS], columns=[f"x{i}" for i in range(FEATURES)])
        tables = {"one row": folder / "one.csv", f"{len(frame):,} rows": folder / "many.csv"}
        for path, rows in zip(tables.values(), (frame[:1], frame), strict=True):
            rows.to_csv(path, index=False)
        costs: dict[str, list[float]] = {name: [] for name in tables}
        with serving(folder, folder / "models", "--engine", "native", "--threads", "1") as server:
            for _ in range(ROUNDS):
                for name, path in tables.items():
                    costs[name].append(_microseconds_per_call(server, path))
    for name, values in costs.items():
        print(f"{name}: {statistics.median(values):.2f} µs of processor time a call", flush=True)
    one, many = (statistics.median(values) for values in costs.values())
    print(f"ratio: {many / one:.2f}")


def _microseconds_per_call(server: ServerProcess, table: Path) -> float:
    """Put a load of a second on the server; returns its processor time for a call."""
    command = [COMMAND, "load", "--address", server.address, "--input", table, "--model", NAME]
    command += ["--connections", "1", "--concurrency", "64", "--duration", "1s", "--warmup", "0s"]
    before, calls_before = _seconds(server), _calls(server)
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return (_seconds(server) - before) / (_calls(server) - calls_before) * 1e6


def _seconds(server: ServerProcess) -> float:
    """The processor time of the server so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _calls(server: ServerProcess) -> float:
    return sum(value for (name, _), value in server.metrics().items() if name == "scorewire_calls_total")


if __name__ == "__main__":
    main()
