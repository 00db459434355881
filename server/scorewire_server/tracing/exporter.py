"""The thread that takes traced calls from the engine and sends them to the collector.

Whatever the collector does, no call waits for it: the engine's queue is bounded, and
what finds it full is dropped and counted. The thread holds one batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final, Protocol

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.tracing import SpanBatch, TraceCounts, TraceQueue
from scorewire_server.problem_log import ProblemLog
from scorewire_server.tracing.collector import ExportCall
from scorewire_server.tracing.request import export_request

_QUEUE_FULL: Final = "queue_full"
# Why the thread lost spans; the engine's queue has a cause of its own.
CAUSES: Final = ("rejected", "refused", "unavailable", "closing")
# The most calls of a request: about 3000 spans, well below the 4 MiB that collectors take.
_BATCH_CALLS = 512
_SECONDS_BETWEEN_BATCHES = 1.0
_REQUEST_SECONDS = 10.0
# Requests are repeated with growing pauses, and no longer than this.
_RETRY_SECONDS = 30.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 8.0
# The codes for which https://opentelemetry.io/docs/specs/otlp/#failures tells clients to repeat a request.
_TRANSIENT = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_STATUS_DETAILS = "grpc-status-details-bin"


class Export(Protocol):
    """Begins to send a request, which fails if it takes longer than these seconds."""

    def __call__(self, request: bytes, seconds: float) -> ExportCall: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class TraceLedger:
    """What became of every span so far: sampled = sent + dropped + waiting, once no call is being answered.

    Attributes:
        sampled: spans of traced calls that have ended.
        sent: spans that the collector took.
        dropped: spans that were lost, by cause.
        waiting: spans that are not sent yet.
        limited: calls and messages of streams that were not traced, because of --traces-per-second.
    """

    sampled: int
    sent: int
    dropped: dict[str, int]
    waiting: int
    limited: int


class Exporter:
    """Sends what it takes from a queue, in a thread of its own.

    Args:
        queue: gives the queue of the engine.
        export: sends one request.
        resource: what the spans say of this server.
        log: is told what is wrong.
    """

    def __init__(
        self, queue: Callable[[], TraceQueue | None], export: Export, resource: Resource, log: ProblemLog
    ) -> None:
        self._queue = queue
        self._export = export
        self._resource = resource
        self._log = log
        self._lock = Lock()
        self._sent = self._held = 0
        self._dropped = dict.fromkeys(CAUSES, 0)
        self._full_before = 0
        # Set when there is something to look at: an answer, or the end.
        self._wake = Event()
        self._close_before: float | None = None
        self._thread = Thread(target=self._run, name="traces", daemon=True)

    @property
    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Spans that were sent, spans that are held, and spans that were dropped, by cause."""
        with self._lock:
            return self._sent, self._held, dict(self._dropped)

    @property
    def ledger(self) -> TraceLedger:
        """What became of every span so far."""
        queue = self._queue()
        # While the lock is held, no span goes from the queue to the thread: none is missed or counted twice.
        with self._lock:
            counts = TraceCounts() if queue is None else queue.counts
            return TraceLedger(
                sampled=counts.sampled,
                sent=self._sent,
                dropped={_QUEUE_FULL: counts.dropped} | self._dropped,
                waiting=counts.waiting + self._held,
                limited=counts.limited,
            )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what is left, for at most these seconds, and end the thread; the rest is dropped."""
        if self._thread.ident is None:
            return
        self._close_before = monotonic() + seconds
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            closing = self._close_before is not None
            try:
                batch = self._take()
                if batch.calls:
                    self._log.note(self._send(batch.encoded) or self._overflow(), **self._spans())
            except Exception as error:
                log_fault("traces", error)
                self._settle("refused")
                batch = SpanBatch()
            if batch.calls == _BATCH_CALLS:
                continue
            if closing:
                return
            self._pause(_SECONDS_BETWEEN_BATCHES)

    def _take(self) -> SpanBatch:
        queue = self._queue()
        if queue is None:
            return SpanBatch()
        with self._lock:
            batch = queue.take(_BATCH_CALLS)
            self._held = batch.spans
        return batch

    def _send(self, spans: bytes) -> str:
        """Send spans until the collector has them, or give them up; says what is wrong, "" if nothing is."""
        request = export_request(self._resource, spans)
        give_up = monotonic() + _RETRY_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            closing = self._close_before
            if closing is not None and monotonic() >= closing:
                self._settle("closing")
                return "the server stopped before all spans were sent"
            call = self._attempt(request)
            code = call.code()
            if code is grpc.StatusCode.OK:
                return self._settle_answer(call)
            problem = f"the collector answers {code.name}: {call.details()}"[:300]
            told_pause = _retry_pause(call)
            if code not in _TRANSIENT and not (
                code is grpc.StatusCode.RESOURCE_EXHAUSTED and told_pause is not None
            ):
                self._settle("refused")
                return problem
            # The end of the server does not wait for a collector that is away.
            if self._close_before is not None:
                self._settle("closing")
                return problem
            wait = uniform(0.8, 1.2) * pause if told_pause is None else told_pause  # noqa: S311 - jitter
            if monotonic() + wait > give_up:
                self._settle("unavailable")
                return problem
            self._log.note(problem, **self._spans())
            self._pause(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _attempt(self, request: bytes) -> ExportCall:
        """Send a request once, and wait for the answer."""
        call = self._export(request, _REQUEST_SECONDS)
        call.add_done_callback(lambda _: self._wake.set())
        while not call.done():
            self._wake.wait(self._seconds_left())
            self._wake.clear()
            if self._seconds_left() == 0:
                call.cancel()
        return call

    def _settle_answer(self, call: ExportCall) -> str:
        """Count the spans of an answer, which may say that some were rejected."""
        partial = call.result().partial_success
        with self._lock:
            rejected = min(max(partial.rejected_spans, 0), self._held)
            self._dropped["rejected"] += rejected
            self._sent += self._held - rejected
            self._held = 0
        return f"the collector rejects spans: {partial.error_message}"[:300] if rejected else ""

    def _settle(self, cause: str) -> None:
        """Count the spans that are held as dropped."""
        with self._lock:
            self._dropped[cause] += self._held
            self._held = 0

    def _overflow(self) -> str:
        """Says so if the engine's queue was full since the last time."""
        queue = self._queue()
        full = queue.counts.dropped if queue is not None else 0
        before, self._full_before = self._full_before, full
        return "more calls are traced than the collector takes" if full > before else ""

    def _spans(self) -> dict[str, int]:
        sent, _, dropped = self.counts
        return {"sent": sent, "dropped": sum(dropped.values())}

    def _pause(self, seconds: float) -> None:
        """Wait, or until the end."""
        until = monotonic() + seconds
        while self._close_before is None and (left := until - monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _seconds_left(self) -> float | None:
        """Seconds until the end has to be done; None before the end."""
        return None if self._close_before is None else max(self._close_before - monotonic(), 0)


def _retry_pause(call: ExportCall) -> float | None:
    """The seconds after which the collector wants the request again, if it says so."""
    for name, value in call.trailing_metadata() or ():
        if name == _STATUS_DETAILS:
            try:
                status = status_pb2.Status.FromString(value)
                for detail in status.details:
                    info = error_details_pb2.RetryInfo()
                    if detail.Unpack(info):
                        pause = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                        return min(max(float(pause), 0.0), _RETRY_SECONDS)
            except Exception:
                return None
    return None
