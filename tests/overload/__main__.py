"""Measures the goodput of an overloaded server: `python -m tests.overload [SECONDS [ENGINE]]`.

It finds the highest rate at which calls are answered, then offers 1, 3 and 9 times
that rate, each call with a deadline of 100 ms, and prints how many calls were
answered in time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.overload.offer import Offered, offer
from tests.overload.scenarios import KINDS, PREDICT, overloaded_server

_TIMEOUT_SECONDS = 0.1
_FIRST_RATE = 50.0


def capacity(address: str, data: bytes, seconds: float) -> float:
    """Find the highest goodput: raise the load until no more calls are answered in time."""
    best, rate = 0.0, _FIRST_RATE
    while True:
        found = offer(
            address, PREDICT, data, rate=rate, seconds=seconds / 4, timeout_seconds=_TIMEOUT_SECONDS
        ).goodput
        if found <= 1.1 * best:
            return max(found, best)
        best, rate = found, 2 * rate


def _line(times: float, rate: float, offered: Offered) -> str:
    latencies = sorted(offered.latencies) or [0.0]
    return (
        f"{times:4g}x {rate:8.0f}/s offered: {offered.goodput:7.0f}/s in time,"
        f" p50 {1000 * latencies[len(latencies) // 2]:5.1f} ms, refused {offered.refused},"
        f" late {offered.late}, expired {offered.expired}, unsent {offered.unsent},"
        f" connections lost {offered.connections_lost}"
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    engine = sys.argv[2] if len(sys.argv) > 2 else "native"
    for kind in KINDS:
        with (
            tempfile.TemporaryDirectory() as folder,
            overloaded_server(Path(folder), engine, kind) as (server, data),
        ):
            most = capacity(server.address, data, seconds)
            print(f"{engine}, {kind}: about {most:.0f}/s", flush=True)
            for times in (1, 3, 9):
                found = offer(
                    server.address, PREDICT, data, rate=times * most, seconds=seconds,
                    timeout_seconds=_TIMEOUT_SECONDS,
                )  # fmt: skip
                print(_line(times, times * most, found), flush=True)


if __name__ == "__main__":
    main()
