"""Whatever the collector does, each span is sent, dropped or waiting, and nothing else suffers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic, time_ns

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from structlog.testing import capture_logs

from scorewire_server.engine.spans import encode_spans
from scorewire_server.engine.tracing import SpanBatch, TraceCounts, TracedCall
from scorewire_server.problem_log import ProblemLog
from scorewire_server.tracing import exporter as module
from scorewire_server.tracing.collector import Collector as Connection
from scorewire_server.tracing.exporter import CAUSES, Exporter
from scorewire_server.tracing.request import resource
from tests import otlp
from tests.processes import TIMEOUT_SECONDS, wait_until

WRONG = "traces are not sent as they should be"


def traced(model: str = "m", stages: int = 2) -> TracedCall:
    """A call that has ended, with a span for each of some stages."""
    now = time_ns()
    return TracedCall(
        "unary",
        "package.Service/Method",
        bytes(range(16)),
        bytes(range(8)),
        b"",
        False,
        "",
        "",
        now - 1000,
        now,
        [(stage, now - 900, now - 100) for stage in range(stages)],
        0,
        0,
        model,
        "1.0.0",
        "",
        1,
        0,
        "",
        1,
    )


class Queue:
    """The queue of an engine that has room for a number of calls."""

    def __init__(self, room: int = 10_000) -> None:
        self._calls: deque[TracedCall] = deque()
        self._room = room
        self._sampled = self._dropped = 0
        self._lock = threading.Lock()

    def put(self, *calls: TracedCall) -> None:
        with self._lock:
            for call in calls:
                self._sampled += call.spans
                if len(self._calls) < self._room:
                    self._calls.append(call)
                else:
                    self._dropped += call.spans

    @property
    def counts(self) -> TraceCounts:
        with self._lock:
            waiting = sum(call.spans for call in self._calls)
            return TraceCounts(self._sampled, self._dropped, waiting, 0)

    def take(self, most: int) -> SpanBatch:
        with self._lock:
            return encode_spans([self._calls.popleft() for _ in range(min(most, len(self._calls)))])


class Running:
    """An exporter that sends what is in a queue."""

    def __init__(self, queue: Queue, exporter: Exporter) -> None:
        self.queue = queue
        self.exporter = exporter

    @property
    def sent(self) -> int:
        return self.exporter.counts[0]

    @property
    def dropped(self) -> dict[str, int]:
        """The causes for which spans were dropped."""
        return {cause: count for cause, count in self.exporter.counts[2].items() if count}

    def assert_complete(self) -> None:
        """Nothing waits, and each span was sent or dropped."""
        sent, held, dropped = self.exporter.counts
        counts = self.queue.counts
        assert (held, counts.waiting) == (0, 0)
        assert counts.sampled == sent + counts.dropped + sum(dropped.values())
        assert set(dropped) == set(CAUSES)

    def close(self, seconds: float = TIMEOUT_SECONDS) -> None:
        self.exporter.close(seconds)


@contextmanager
def exporting(address: str, queue: Queue | None = None) -> Iterator[Running]:
    """Run an exporter; at the end no thread of it is left."""
    before = _threads()
    queue = Queue() if queue is None else queue
    connection = Connection(f"http://{address}")
    exporter = Exporter(lambda: queue, connection.export, resource("test"), ProblemLog(WRONG, "over"))
    exporter.start()
    try:
        yield Running(queue, exporter)
    finally:
        exporter.close(0)
        connection.close()
        wait_until(lambda: not _threads() - before, "the end of the threads")


def _threads() -> set[int | None]:
    """The threads of exporters and of their connections."""
    names = ("traces", "channel_spin")
    return {each.ident for each in threading.enumerate() if any(name in each.name for name in names)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are short enough for tests."""
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_BATCHES", 0.01)
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def collector() -> Iterator[otlp.Collector]:
    """A collector that takes everything, until it is told otherwise."""
    with otlp.collecting() as running:
        yield running


def test_all_spans_arrive_in_requests_of_bounded_size(collector: otlp.Collector) -> None:
    with exporting(collector.address) as running:
        running.queue.put(*(traced() for _ in range(1300)))
        wait_until(lambda: running.sent == 3900, "all spans")
        running.assert_complete()
    assert len(collector.spans) == 3900
    assert len(collector.requests) >= 3
    assert max(request.ByteSize() for request in collector.requests) < 1 << 20


def test_the_ledger_has_spans_that_go_from_the_queue_to_the_thread_while_it_is_made() -> None:
    taken = threading.Event()

    class Emptied(Queue):
        """A queue that the thread empties as it is counted, unless it has to wait for that."""

        @property
        def counts(self) -> TraceCounts:
            if threading.current_thread() is threading.main_thread():
                exporter.start()
                taken.wait(0.5)
            return super().counts

        def take(self, most: int) -> SpanBatch:
            batch = super().take(most)
            taken.set()
            return batch

    queue = Emptied()
    queue.put(*(traced() for _ in range(10)))
    connection = Connection("http://127.0.0.1:1")
    exporter = Exporter(lambda: queue, connection.export, resource("test"), ProblemLog(WRONG, "over"))
    ledger = exporter.ledger
    assert ledger.sampled == 30 == ledger.sent + sum(ledger.dropped.values()) + ledger.waiting
    exporter.close(0)
    connection.close()


def test_what_is_left_is_sent_at_the_end(collector: otlp.Collector) -> None:
    with exporting(collector.address) as running:
        wait_until(lambda: not running.queue.counts.waiting, "an empty queue")
        running.queue.put(*(traced() for _ in range(1300)))
        running.close()
        running.assert_complete()
        assert running.sent == 3900


def test_spans_that_the_collector_rejects_count_as_dropped(collector: otlp.Collector) -> None:
    for told, counted in ((2, 2), (1_000_000, 3), (-5, 0)):
        collector.answer = otlp.rejects(told)
        with exporting(collector.address) as running:
            running.queue.put(traced())
            running.close()
            running.assert_complete()
            assert running.dropped.get("rejected", 0) == counted
            assert running.sent == 3 - counted


@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "CANCELLED", "DATA_LOSS", "OUT_OF_RANGE"])
def test_a_request_is_repeated_after_a_failure_that_may_pass(collector: otlp.Collector, code: str) -> None:
    collector.answer = otlp.fails(grpc.StatusCode[code])
    with exporting(collector.address) as running:
        running.queue.put(traced())
        wait_until(lambda: collector.attempts >= 3, "three attempts")
        assert running.exporter.counts[1] == 3
        collector.answer = otlp.takes
        wait_until(lambda: running.sent == 3, "the spans")
        running.assert_complete()
    assert len(collector.spans) == 3


@pytest.mark.parametrize(
    "code", ["UNAUTHENTICATED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"]
)
def test_a_request_that_is_refused_is_not_repeated(collector: otlp.Collector, code: str) -> None:
    collector.answer = otlp.fails(grpc.StatusCode[code])
    with exporting(collector.address) as running:
        running.queue.put(traced())
        wait_until(lambda: running.dropped == {"refused": 3}, "the end of the spans")
        running.assert_complete()
    assert collector.attempts == 1


def test_a_collector_that_says_when_is_asked_again_then(collector: otlp.Collector) -> None:
    collector.answer = otlp.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_seconds=0.001)
    with exporting(collector.address) as running:
        running.queue.put(traced())
        wait_until(lambda: collector.attempts >= 3, "three attempts")
        collector.answer = otlp.takes
        wait_until(lambda: running.sent == 3, "the spans")
        running.assert_complete()


def test_a_batch_is_given_up_after_a_time(collector: otlp.Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.1)
    collector.answer = otlp.fails(grpc.StatusCode.UNAVAILABLE)
    with exporting(collector.address) as running:
        running.queue.put(traced())
        wait_until(lambda: running.dropped == {"unavailable": 3}, "the end of the spans")
        collector.answer = otlp.takes
        running.queue.put(traced())
        wait_until(lambda: running.sent == 3, "the next spans")
        running.assert_complete()


def test_a_collector_that_restarts_loses_nothing() -> None:
    with ExitStack() as stack:
        before = stack.enter_context(otlp.collecting())
        port = int(before.address.rpartition(":")[2])
        with exporting(before.address) as running:
            running.queue.put(traced())
            wait_until(lambda: running.sent == 3, "the first spans")
            stack.close()
            running.queue.put(traced(), traced())
            wait_until(lambda: running.exporter.counts[1] == 6, "spans that are held")
            after = stack.enter_context(otlp.collecting(port=port))
            wait_until(lambda: running.sent == 9, "the other spans")
            running.assert_complete()
            assert len(after.spans) == 6


def test_while_nothing_can_be_sent_the_queue_bounds_the_memory() -> None:
    with otlp.collecting() as gone:
        address = gone.address
    with exporting(address, Queue(room=100)) as running:
        running.queue.put(traced())
        wait_until(lambda: running.exporter.counts[1] == 3, "a batch that is held")
        running.queue.put(*(traced() for _ in range(1000)))
        assert running.queue.counts.dropped == 900 * 3
        assert running.exporter.counts[1] == 3
        begin = monotonic()
        running.close(TIMEOUT_SECONDS)
        # The last pass does not wait for a collector that is away.
        assert monotonic() - begin < TIMEOUT_SECONDS
        running.assert_complete()
        assert running.dropped == {"closing": 101 * 3}


def test_a_collector_that_hangs_does_not_hold_up_the_end(collector: otlp.Collector) -> None:
    hung = threading.Event()

    def hang(_: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        context.add_callback(hung.set)
        hung.wait(TIMEOUT_SECONDS)
        return ExportTraceServiceResponse()

    collector.answer = hang
    with exporting(collector.address) as running:
        running.queue.put(*(traced() for _ in range(1000)))
        wait_until(lambda: collector.attempts == 1, "the request")
        running.close(0.05)
        running.assert_complete()
        assert running.dropped == {"closing": 3000}
        assert hung.wait(TIMEOUT_SECONDS)


def test_problems_are_logged_once_a_minute_without_what_is_sent(collector: otlp.Collector) -> None:
    collector.answer = otlp.fails(grpc.StatusCode.UNAVAILABLE)
    with capture_logs() as lines:
        with exporting(collector.address) as running:
            running.queue.put(traced())
            wait_until(lambda: collector.attempts >= 5, "five attempts")
            collector.answer = otlp.takes
            wait_until(lambda: running.sent == 3, "the spans")
            # The next look finds that all is well.
            running.queue.put(traced())
            wait_until(lambda: running.sent == 6, "the next spans")
        events = [line["event"] for line in lines]
    assert events == [WRONG, "over"]
    assert lines[0]["problem"] == "the collector answers UNAVAILABLE: not now"


def test_a_queue_that_fails_is_a_fault_and_sending_goes_on(collector: otlp.Collector) -> None:
    class Broken(Queue):
        fails = True

        def take(self, most: int) -> SpanBatch:
            if self.fails:
                raise RuntimeError("broken")
            return super().take(most)

    queue = Broken()
    with capture_logs() as lines, exporting(collector.address, queue) as running:
        queue.put(traced())
        wait_until(lambda: bool(lines), "the fault")
        queue.fails = False
        wait_until(lambda: running.sent == 3, "the spans")
        running.assert_complete()


def test_an_exporter_that_was_not_started_is_closed() -> None:
    unused: Callable[..., None] = lambda *_: None  # noqa: E731
    Exporter(lambda: None, unused, resource("test"), ProblemLog(WRONG, "over")).close(1)
