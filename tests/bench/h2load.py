"""Load by h2load, the load generator of nghttp2 in C, which is faster than any server here."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = "h2load"
HOW_TO_INSTALL = "h2load is missing: apt-get install nghttp2-client"
PREDICT = "/scorewire.v1.PredictionService/Predict"
_TIMEOUT_SECONDS = 600
_FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s", re.MULTILINE)
_REQUESTS = re.compile(
    r"^requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored",
    re.MULTILINE,
)
# The mean is the third of minimum, maximum, mean and standard deviation.
_TIMES = re.compile(r"^time for request:(?: +[\d.]+(?:us|ms|s)){2} +([\d.]+)(us|ms|s)", re.MULTILINE)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadError(Exception):
    """The generator failed, or a server answered a call wrongly, so that the measurement is void."""


@dataclass(frozen=True, slots=True)
class Load:
    """The results of one run. The latency is the median with one call in flight, else the mean."""

    calls_per_second: float
    latency_us: float


def missing() -> bool:
    """Whether h2load is missing."""
    return shutil.which(COMMAND) is None


def put_load(
    target: str,
    message: Path,
    *,
    calls: int,
    in_flight: int,
    log: Path,
    connections: int = 1,
    headers: Sequence[str] = (),
) -> Load:
    """Make a number of calls, each with the same message.

    Args:
        target: HOST:PORT/SERVICE/METHOD.
        message: a file with a gRPC message, beginning with its prefix of five bytes.
        calls: the exact number of calls.
        in_flight: calls in flight on each connection.
        log: the file for h2load's log of calls. It is written only with one call
            in flight; with more, logging would cost a sixth of the speed.
        connections: the number of connections.
        headers: more header fields of each call, each as NAME: VALUE.

    Raises:
        LoadError: a call did not get the HTTP status 200. h2load does not see the
            gRPC status; the server's counters have it.
    """
    options = [f"--requests={calls}", f"--max-concurrent-streams={in_flight}", f"--clients={connections}"]
    options += [f"--header={header}" for header in headers]
    log.unlink(missing_ok=True)
    one_by_one = in_flight == connections == 1
    if one_by_one:
        options.append(f"--log-file={log}")
    told = _run([*options, f"http://{target}"], message)
    return parse(told, log.read_text(encoding="ascii") if one_by_one else "", calls)


def paced_latencies_us(
    address: str, message: Path, *, calls: int, interval_ms: float, folder: Path
) -> list[int]:
    """Make calls at fixed times, whether or not earlier calls are answered; returns the time of each.

    Args:
        address: HOST:PORT.
        message: as in `put_load`.
        calls: the exact number of calls.
        interval_ms: milliseconds between two calls.
        folder: the folder for h2load's files.

    Raises:
        LoadError: as `put_load`.
    """
    script, log = folder / "script", folder / "log"
    log.unlink(missing_ok=True)
    url = f"http://{address}{PREDICT}"
    script.write_text("".join(f"{i * interval_ms:.3f}\t{url}\n" for i in range(calls)), encoding="ascii")
    options = [f"--timing-script-file={script}", "--max-concurrent-streams=100", f"--log-file={log}"]
    options.append("--clients=1")
    told = _run([*options, f"--requests={calls}"], message)
    noted = log.read_text(encoding="ascii")
    parse(told, noted, calls)
    return _durations_us(noted)


def logged_latencies_us(target: str, message: Path, *, calls: int, in_flight: int, folder: Path) -> list[int]:
    """Make calls as `put_load` on one connection, and return the time of each; the log costs some speed.

    Args:
        target: HOST:PORT/SERVICE/METHOD.
        message: as in `put_load`.
        calls: the exact number of calls.
        in_flight: calls in flight.
        folder: the folder for h2load's log.

    Raises:
        LoadError: as `put_load`.
    """
    log = folder / "log"
    log.unlink(missing_ok=True)
    options = [f"--requests={calls}", f"--max-concurrent-streams={in_flight}", "--clients=1"]
    told = _run([*options, f"--log-file={log}", f"http://{target}"], message)
    noted = log.read_text(encoding="ascii")
    parse(told, noted, calls)
    return _durations_us(noted)


def _run(options: list[str], message: Path) -> str:
    command = [COMMAND, f"--data={message}"]
    command += ["--window-bits=20", "--connection-window-bits=23"]
    command += ["--header=content-type: application/grpc", "--header=te: trailers", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    if result.returncode:
        raise LoadError(f"h2load ended with {result.returncode}: {result.stderr or result.stdout}")
    return result.stdout


def _durations_us(log: str) -> list[int]:
    return [int(line.split("\t")[2]) for line in log.splitlines()]


def parse(told: str, log: str, calls: int) -> Load:
    """Parse h2load's output and its log: start, status and duration of each call, in microseconds.

    Raises:
        LoadError: as `put_load`.
    """
    finished, requests, times = _FINISHED.search(told), _REQUESTS.search(told), _TIMES.search(told)
    if finished is None or requests is None or times is None:
        raise LoadError(f"h2load says something else than this bench knows: {told}")
    if tuple(map(int, requests.groups())) != (calls, calls, 0, 0):
        raise LoadError(f"not all of {calls} calls were answered: {requests[0]}")
    seconds = float(finished[1]) * _UNITS[finished[2]]
    if log:
        latency_us = statistics.median(_durations_us(log))
    else:
        latency_us = float(times[1]) * _UNITS[times[2]] * 1e6
    return Load(calls / seconds, latency_us)
