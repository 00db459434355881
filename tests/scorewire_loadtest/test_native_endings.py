"""The native generator with servers that end calls and connections in every way that HTTP/2 allows."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import pytest
from rich.console import Console

from scorewire_contract.bundle import Bundle
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_loadtest.pacing import Constant
from scorewire_loadtest.plan import ClosedLoop, OpenLoop, Plan
from scorewire_loadtest.progress import ProgressBar
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from tests import http2
from tests.http2 import frame
from tests.scorewire_loadtest.raw_server import (
    Peer,
    answer,
    goaway,
    head,
    listening,
    stream_answers,
    trailers,
)

native_generator = pytest.importorskip("scorewire_loadtest.native_generator")
# Far longer than any run here, and shorter than a test that hangs.
BOUND_S = 60.0
UNAVAILABLE = 14


def plan_of(bundle: Bundle, address: str, **others: Any) -> Plan:
    settings: dict[str, Any] = {
        "target": Target(address),
        "source": bundle,
        "load": ClosedLoop(4),
        "rows_per_call": 1,
        "connections": 1,
        "streams": None,
        "warmup_s": 0.0,
        "duration_s": 0.3,
        "timeout_s": 10.0,
    }
    return Plan(**{**settings, **others})


def load(bundle: Bundle, address: str, calls: list[PreparedCall] | None = None, **others: Any) -> Results:
    """Put load on a server; fails where the run does not end."""
    plan = plan_of(bundle, address, **others)
    bar = ProgressBar(Console(file=sys.stderr, force_terminal=False), warmup_s=0.0, duration_s=1.0)
    made = calls or from_bundle(bundle, rows_per_call=1)
    found: list[Results] = []
    thread = threading.Thread(target=lambda: found.append(native_generator.run(plan, made, bar)), daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive(), "the run does not end"
    (results,) = found
    return results


def codes(results: Results) -> set[str]:
    return {error.code for error in results.errors}


def test_a_server_that_goes_away_after_its_answers_fails_no_more_than_the_calls_in_flight(
    sum_bundle: Bundle,
) -> None:
    def handle(peer: Peer) -> None:
        asked = []
        for found in peer.frames():
            if found.kind == http2.DATA and found.ends:
                asked.append(found.stream)
                if peer.number:
                    peer.send(answer(found.stream))
                elif len(asked) == 4:
                    # The callers make their next calls while the GOAWAY is read.
                    peer.send(*map(answer, asked), goaway(found.stream))

    with listening(handle) as address:
        results = load(sum_bundle, address)
    assert results.answered > 4
    assert results.failed == 0


@pytest.mark.parametrize("way", [ClosedLoop(2), OpenLoop(Constant(50), 50)])
@pytest.mark.parametrize("resets", [True, False])
def test_a_stream_that_ends_as_the_server_goes_away_is_opened_on_a_new_connection(
    sum_bundle: Bundle, way: ClosedLoop | OpenLoop, *, resets: bool
) -> None:
    def handle(peer: Peer) -> None:
        known: set[int] = set()
        for found in peer.frames():
            if found.kind != http2.DATA or not found.payload:
                continue
            first = found.stream not in known
            known.add(found.stream)
            begin = head(found.stream) if first else b""
            if peer.number:
                peer.send(begin, stream_answers(found))
            elif first:
                reset = frame(http2.RST_STREAM, 0, found.stream, bytes(4)) if resets else b""
                peer.send(begin, trailers(found.stream, UNAVAILABLE), reset, goaway(found.stream))

    with listening(handle) as address:
        results = load(sum_bundle, address, load=way, streams=1)
    assert results.answered > 4
    assert 1 <= results.failed <= 4
    assert codes(results) == {"UNAVAILABLE"}


def test_a_server_that_goes_away_at_every_call_fails_calls_and_the_run_ends(sum_bundle: Bundle) -> None:
    def handle(peer: Peer) -> None:
        for found in peer.frames():
            if found.kind == http2.HEADERS:
                peer.send(head(found.stream), trailers(found.stream, UNAVAILABLE), goaway(found.stream))

    with listening(handle) as address:
        for streams in (None, 1):
            results = load(sum_bundle, address, streams=streams)
            assert (results.answered, codes(results)) == (0, {"UNAVAILABLE"})


@pytest.mark.parametrize("way", [ClosedLoop(2), OpenLoop(Constant(50), 50)])
def test_a_stream_that_the_server_ends_without_a_reset_is_opened_again(
    sum_bundle: Bundle, way: ClosedLoop | OpenLoop
) -> None:
    def handle(peer: Peer) -> None:
        streams: list[int] = []
        for found in peer.frames():
            if found.kind != http2.DATA or not found.payload:
                continue
            begin = b"" if found.stream in streams else head(found.stream)
            if begin:
                streams.append(found.stream)
            if len(streams) > 1:
                peer.send(begin, stream_answers(found))
            elif begin:
                peer.send(begin, trailers(found.stream, UNAVAILABLE))

    with listening(handle) as address:
        results = load(sum_bundle, address, load=way, streams=1)
    assert results.answered > 4
    assert codes(results) == {"UNAVAILABLE"}


def refused(peer: Peer) -> None:
    for found in peer.frames():
        if found.kind == http2.HEADERS:
            block = b"\x88" + http2.literal("grpc-status", "8")
            peer.send(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, found.stream, block))


def test_a_call_that_is_refused_before_its_message_is_read_has_the_servers_status(
    sum_bundle: Bundle,
) -> None:
    (call, *_) = from_bundle(sum_bundle, rows_per_call=1)
    # Larger than the window of the server, which never grows for a stream.
    large = PreparedCall(request=bytes(200_000), row_count=1, expectation=call.expectation)
    with listening(refused) as address:
        results = load(sum_bundle, address, [large], load=ClosedLoop(1))
    assert results.failed > 0
    assert codes(results) == {"RESOURCE_EXHAUSTED"}


def test_the_end_of_a_connection_is_seen_in_the_segment_of_an_answer(sum_bundle: Bundle) -> None:
    def handle(peer: Peer) -> None:
        asked = []
        for found in peer.frames():
            if found.kind == http2.DATA and found.ends:
                asked.append(found.stream)
                if len(asked) == 2:
                    if hasattr(socket, "TCP_CORK"):
                        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                    peer.send(answer(asked[0]))
                    peer.socket.shutdown(socket.SHUT_WR)

    two_calls = OpenLoop(Constant(20), 10)
    with listening(handle) as address:
        results = load(sum_bundle, address, load=two_calls, duration_s=0.1)
    assert (results.answered, results.failed, codes(results)) == (1, 1, {"UNAVAILABLE"})


def test_an_answer_that_is_too_large_is_told(sum_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(peer: Peer) -> None:
        for found in peer.frames():
            if found.kind == http2.DATA and found.ends:
                data = frame(http2.DATA, 0, found.stream, http2.message(bytes(10_000)))
                peer.send(head(found.stream), data, trailers(found.stream))

    monkeypatch.setattr(native_generator, "MAX_MESSAGE_BYTES", 1_000)
    with listening(handle) as address:
        results = load(sum_bundle, address, load=ClosedLoop(1))
    (error,) = results.errors
    assert (error.code, "larger than" in error.example) == ("RESOURCE_EXHAUSTED", True)


def silent(peer: Peer) -> None:
    for _ in peer.frames():
        pass


def test_a_run_that_is_over_before_its_measured_part_has_no_work(sum_bundle: Bundle) -> None:
    with listening(silent) as address:
        results = load(sum_bundle, address, load=OpenLoop(Constant(0.01), 10), warmup_s=0.1, timeout_s=0.05)
    assert (results.calls, results.generator.busy, results.generator.queued) == (0, 0.0, None)


def test_the_wait_for_the_last_calls_is_no_work_of_the_measured_part(sum_bundle: Bundle) -> None:
    import scorewire_loadtest_native

    with listening(silent) as address:
        plan = plan_of(sum_bundle, address, duration_s=0.1, timeout_s=3.0)
        calls = from_bundle(sum_bundle, rows_per_call=1)
        run = scorewire_loadtest_native.Run(native_generator._settings(plan, calls))
        assert run.wait(BOUND_S)
    totals = run.totals()
    assert totals["elapsed_ns"] >= 3_000_000_000 > totals["measured_ns"] > 0


def test_a_run_that_is_stopped_in_its_warm_up_ends_and_counts_nothing(sum_bundle: Bundle) -> None:
    import scorewire_loadtest_native

    begun = threading.Event()

    def handle(peer: Peer) -> None:
        for found in peer.frames():
            if found.kind == http2.DATA and found.ends:
                peer.send(answer(found.stream))
                begun.set()

    with listening(handle) as address:
        plan = plan_of(sum_bundle, address, warmup_s=3_600.0)
        calls = from_bundle(sum_bundle, rows_per_call=1)
        run = scorewire_loadtest_native.Run(native_generator._settings(plan, calls))
        assert begun.wait(BOUND_S)
        run.stop()
        assert run.wait(BOUND_S)
    totals = run.totals()
    assert (totals["calls"], totals["elapsed_ns"], totals["cpu_ns"], totals["queued_ns"]) == (0, 0, 0, None)
