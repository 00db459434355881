"""The generator in Rust, which makes calls at the speed of h2load.

It compares every response, byte by byte, with those that came before to the same call. Each distinct
response comes here once, to be checked as in the generator in Python.
"""

from __future__ import annotations

import pkgutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType

from google.protobuf.message import DecodeError

import scorewire_loadtest_native
from scorewire import TLS
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.pacing import Poisson
from scorewire_loadtest.plan import ClosedLoop, OpenLoop, Plan
from scorewire_loadtest.progress import Course, ProgressBar
from scorewire_loadtest.results import MAX_EXAMPLES, CallErrors, Results, Second, Totals, histogram
from scorewire_loadtest.target import MAX_MESSAGE_BYTES, Target
from scorewire_loadtest.transport import PREDICT, PREDICT_STREAM, code_name
from scorewire_proto.v1 import packed_pb2

_NS_PER_SECOND = 1_000_000_000
# How often new responses are taken to be checked. Longer than that, Ctrl-C has no effect.
_POLL_S = 0.05
# The fields of a response that differ with each call.
_VOLATILE = [
    packed_pb2.PackedPredictResponse.SERVER_TIME_US_FIELD_NUMBER,
    packed_pb2.PackedPredictResponse.MODEL_TIME_US_FIELD_NUMBER,
    packed_pb2.PackedPredictResponse.PREDICTION_ID_FIELD_NUMBER,
]


def run(plan: Plan, calls: Sequence[PreparedCall], bar: ProgressBar) -> Results:
    """Make the calls of a plan; Ctrl-C ends the run early, and a second time aborts it.

    Raises:
        ValueError: the address is not valid or not known to this generator, or the TLS settings are wrong.
        OSError: the system does not give what the generator needs, such as the host's address.
    """
    judge = _Judge(calls)
    with _interruptible() as interrupted:
        attack = scorewire_loadtest_native.Run(_settings(plan, calls))
        while not attack.wait(_POLL_S):
            if interrupted.is_set():
                attack.stop()
            judge.take(attack.take_answers())
            answered, failed, second = attack.progress()
            wrong = judge.wrong_so_far
            bar.show(
                Course(answered=answered, failed=failed, wrong=wrong, second=second and _second(*second))
            )
    judge.take(attack.take_answers())
    return _results(attack.totals(), judge)


class _Judge:
    """Checks each distinct response to each call once."""

    def __init__(self, calls: Sequence[PreparedCall]) -> None:
        self._calls = calls
        # What is wrong with a distinct response ("" if it is right), and the number of its row errors.
        self._verdicts: dict[tuple[int, int], tuple[str, int]] = {}
        # The responses that came one by one.
        self._single: Counter[str] = Counter()
        self._single_row_errors = 0

    @property
    def wrong_so_far(self) -> int:
        """Wrong responses so far; a distinct one counts once."""
        distinct = sum(1 for problem, _ in self._verdicts.values() if problem)
        return distinct + sum(count for problem, count in self._single.items() if problem)

    def take(self, fresh: Sequence[tuple[int, int | None, bool, bytes]]) -> None:
        """Check responses; see `Run.take_answers`."""
        for call, distinct, counts, answer in fresh:
            problem, row_errors = self._check(call, answer)
            if distinct is not None:
                self._verdicts[call, distinct] = (problem, row_errors)
            elif counts:
                self._single[problem] += 1
                self._single_row_errors += row_errors

    def _check(self, call: int, answer: bytes) -> tuple[str, int]:
        try:
            response = packed_pb2.PackedPredictResponse.FromString(answer)
        except DecodeError:
            return "the response cannot be parsed", 0
        return self._calls[call].expectation.problem(response), len(response.errors)

    def counted(self, answers: Sequence[tuple[int, int, int]]) -> tuple[Counter[str], int]:
        """What was wrong with how many responses, and the number of all row errors.

        Args:
            answers: the call, which distinct response to it, and how often it came.
        """
        problems, row_errors = Counter(self._single), self._single_row_errors
        for call, distinct, count in answers:
            problem, of_response = self._verdicts[call, distinct]
            problems[problem] += count
            row_errors += of_response * count
        del problems[""]
        return problems, row_errors


def _results(told: scorewire_loadtest_native.Totals, judge: _Judge) -> Results:
    problems, row_errors = judge.counted(told["answers"])
    problems.update(dict(told["unreadable"]))
    totals = Totals(
        elapsed_s=told["elapsed_ns"] / _NS_PER_SECOND,
        calls=told["calls"],
        answered=told["answered"],
        wrong=problems.total(),
        rows=told["rows"],
        row_errors=row_errors,
        late=told["late"],
        held=told["held"],
        unsent=told["unsent"],
        max_us=told["max_us"],
        max_lag_us=told["max_lag_us"],
        latencies=histogram(told["latencies"]),
        lags=histogram(told["lags"]),
        errors=[
            CallErrors(code=code_name(code), reason=reason, count=count, example=message)
            for code, reason, count, message in told["errors"]
        ],
        wrong_examples=list(problems)[:MAX_EXAMPLES],
        seconds=[_second(*parts) for parts in told["seconds"]],
    )
    measured_ns, queued_ns = max(told["measured_ns"], 1), told["queued_ns"]
    return totals.results(
        name="native",
        busy=min(told["cpu_ns"] / measured_ns, 1.0),
        queued=None if queued_ns is None else min(queued_ns / measured_ns, 1.0),
    )


def _second(number: int, answered: int, failed: int, latency_us: tuple[int, int, int] | None) -> Second:
    p50, p99, largest = (None, None, None) if latency_us is None else map(float, latency_us)
    return Second(second=number, answered=answered, failed=failed, p50_us=p50, p99_us=p99, max_us=largest)


def _settings(plan: Plan, calls: Sequence[PreparedCall]) -> scorewire_loadtest_native.Settings:
    target, load = plan.target, plan.load
    opened = load if isinstance(load, OpenLoop) else None
    return {
        "addresses": [(host, port) for host, port in target.addresses()],
        "unix_path": _unix_path(target),
        "authority": target.authority(),
        "tls": None if target.tls is None else _tls(target.tls, target.server_name()),
        "path": PREDICT if plan.streams is None else PREDICT_STREAM,
        "user_agent": f"scorewire-load/{version('scorewire-loadtest')}",
        "authorization": target.authorization(),
        "calls": [(call.request, call.row_count) for call in calls],
        "volatile_fields": _VOLATILE,
        "connections": plan.connections,
        "streams": plan.streams,
        "concurrency": load.concurrency if isinstance(load, ClosedLoop) else None,
        "rate": opened.pacing.rate if opened else 0.0,
        "poisson_seed": _seed(opened),
        "max_outstanding": opened.max_outstanding if opened else 0,
        "warmup_ns": round(plan.warmup_s * _NS_PER_SECOND),
        "duration_ns": round(plan.duration_s * _NS_PER_SECOND),
        "timeout_ns": round(plan.timeout_s * _NS_PER_SECOND),
        "max_message_bytes": MAX_MESSAGE_BYTES,
        "spins": plan.spins,
    }


def _seed(opened: OpenLoop | None) -> int | None:
    """The seed of Poisson arrivals as a number of 64 bits; None for other loads."""
    return opened.pacing.seed % 2**64 if opened and isinstance(opened.pacing, Poisson) else None


def _unix_path(target: Target) -> str:
    """The path of a Unix socket; "" for a server with a host and a port.

    Raises:
        ValueError: the address is neither.
    """
    if target.endpoints():
        return ""
    if not target.address.startswith("unix:"):
        raise ValueError(
            f"the native generator takes hosts and unix:PATH, not {target.address!r};"
            " --generator python takes every target of gRPC"
        )
    return target.address.removeprefix("unix:").removeprefix("//")


def _tls(tls: TLS, name: str) -> scorewire_loadtest_native.TlsSettings:
    # The authorities that gRPC ships, so that both generators trust the same ones.
    roots = tls.root_certificates or pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b""
    identity = None
    if tls.certificate_chain is not None and tls.private_key is not None:
        identity = (tls.certificate_chain, tls.private_key)
    return {"roots": roots, "identity": identity, "name": name}


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, to end the run with a report; a second one aborts it."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        signal.signal(signal.SIGINT, previous)
        interrupted.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
