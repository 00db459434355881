"""Compares a row that is repeated with rows that differ, by kernel: `python -m tests.bench.differing_rows`.

It prints the processor time of the native engine for a call, which other work on the
machine changes little. The loads take turns, with 64 calls in flight on one connection
and with one call on each of 16 connections. Graphs run in the kernel and in onnxruntime.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pandas as pd

from tests.bench.scored_model import FEATURES, NAME, make_model
from tests.processes import COMMAND, ServerProcess, serving

KERNELS = ("auto", "onnxruntime")
CONNECTIONS = (1, 16)
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
        costs: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        with ExitStack() as stack:
            servers = {kernel: stack.enter_context(_server(folder, kernel)) for kernel in KERNELS}
            for _ in range(ROUNDS):
                for name, path in tables.items():
                    for connections in CONNECTIONS:
                        for kernel, server in servers.items():
                            cost = _microseconds_per_call(server, path, connections)
                            costs[name, kernel, connections].append(cost)
    print("rows        connections  graphs run in  µs of processor time a call (least to most)")
    for (name, kernel, connections), values in costs.items():
        runs_on = "onnxruntime" if kernel == "onnxruntime" else "the kernel"
        spread = f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        print(f"{name:<12}{connections:<13}{runs_on:<15}{spread}")


def _server(folder: Path, kernel: str) -> AbstractContextManager[ServerProcess]:
    place = folder / kernel
    place.mkdir()
    flags = ("--engine", "native", "--threads", "1", "--kernel", kernel, "--state-file", place / "state")
    return serving(place, folder / "models", *map(str, flags))


def _microseconds_per_call(server: ServerProcess, table: Path, connections: int) -> float:
    """Put a load of a second on the server; returns its processor time for a call."""
    command = [COMMAND, "load", "--address", server.address, "--input", table, "--model", NAME]
    concurrency = 64 if connections == 1 else connections
    command += ["--connections", connections, "--concurrency", concurrency]
    command += ["--duration", "1s", "--warmup", "0s"]
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
