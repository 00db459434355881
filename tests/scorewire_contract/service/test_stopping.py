"""A process that hangs is ended; each test runs a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scorewire_contract.service.stopping import HUNG_EXIT_CODE, SECOND_SIGNAL_EXIT_CODE
from tests.processes import TIMEOUT_SECONDS

LONG_SECONDS = 600
# Its arguments are the time to stop and what hangs; it prints a line when it is ready for signals.
PROGRAM = """
import asyncio, sys, threading, time
import uvloop
from scorewire_contract.service.logs import configure_logs
from scorewire_contract.service.stopping import SIGNALS, StopWatch

def hang():
    print("ready", flush=True)
    time.sleep(600)

async def main():
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with StopWatch(float(sys.argv[1])):
        if sys.argv[2] == "loop":
            hang()
        if sys.argv[2] == "thread":
            threading.Thread(target=hang).start()
        else:
            print("ready", flush=True)
        await stop.wait()
        print("stopped", flush=True)

configure_logs("json", "info")
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


@contextmanager
def running(stop_seconds: float, hangs: str) -> Iterator[subprocess.Popen[str]]:
    """The program, once it is ready for signals."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(stop_seconds), hangs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_loop(number: signal.Signals) -> None:
    with running(LONG_SECONDS, "nothing") as process:
        process.send_signal(number)
        assert process.communicate(timeout=TIMEOUT_SECONDS) == ("stopped\n", "")
        assert process.returncode == 0


@pytest.mark.parametrize(("hangs", "said"), [("loop", ""), ("thread", "stopped\n")])
def test_a_process_that_hangs_is_ended_and_says_so(hangs: str, said: str) -> None:
    # Long enough for a busy machine to print "stopped".
    with running(0.2 if hangs == "loop" else 5, hangs) as process:
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=TIMEOUT_SECONDS)
        assert (process.returncode, out) == (HUNG_EXIT_CODE, said)
    assert "the server did not stop in time" in log


def test_a_second_signal_ends_a_process_whose_loop_hangs() -> None:
    with running(LONG_SECONDS, "loop") as process:
        process.send_signal(signal.SIGTERM)
        # A different signal, since two pending signals of one kind count once.
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_SECONDS)
        assert process.returncode == SECOND_SIGNAL_EXIT_CODE
