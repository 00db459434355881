"""A stream of requests and answers, without I/O.

A stream's flow yields what to do next: take the caller's next rows, send a
request, wait for an answer, hand out a result. The rules:

- At most `look_ahead` requests are unanswered; the caller's rows are taken no
  faster than that.
- Results leave in the order of the rows, whatever became of each.
- A request that was built for an older schema is built anew and sent again,
  once.
- Where the connection breaks or the server drains, the stream is opened anew
  and what is unanswered is sent again; after three attempts in a row without
  an answer, the stream fails.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from scorewire._codec import Codec, Route
from scorewire._errors import (
    InternalError,
    InvalidArgumentError,
    InvalidRowsError,
    ScorewireError,
    UnavailableError,
    error_from_status,
)
from scorewire._flows import SCHEMA_MISMATCH, Call, Flows, check_timeout
from scorewire._predictions import Prediction, Predictions
from scorewire._rows import Rows, is_frame
from scorewire_proto.v1 import packed_pb2

DEFAULT_LOOK_AHEAD = 8
MAX_ATTEMPTS = 3
_FIRST_BACKOFF_SECONDS = 0.1
_DRAINING = "DRAINING"

OnError: TypeAlias = Literal["raise", "yield"]
Result: TypeAlias = "Prediction | Predictions | ScorewireError"


class _End:
    """Says that the caller has no more rows."""


END: Final = _End()


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Take the caller's next rows; answered by them, or by END."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the stream, in place of the one that was open."""


@dataclass(frozen=True, slots=True, eq=False)
class Send:
    """Send a request on the open stream."""

    request: packed_pb2.PackedPredictStreamRequest


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next answer on the open stream, `timeout` seconds at most."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Emit:
    """Hand out a result."""

    result: Result


StreamFlow: TypeAlias = Generator[Call | TakeRows | Open | Send | Receive | Sleep | Emit, Any, None]


@dataclass(slots=True, eq=False)
class _Slot:
    """A request of the stream and what became of it."""

    number: int
    rows: Rows
    codec: Codec
    request: packed_pb2.PackedPredictRequest | None = None
    result: Result | None = None
    rebuilt: bool = False


def check_batches(batches: object) -> None:
    """Check that it is not one batch in place of batches: taken apart, it would be refused for odd reasons.

    Raises:
        InvalidRowsError: it is.
    """
    is_matrix = isinstance(batches, np.ndarray) and batches.ndim <= 2
    if is_matrix or is_frame(batches) or isinstance(batches, Mapping):
        raise InvalidRowsError(
            f"a stream takes an iterable of batches, and this {type(batches).__name__} is one: pass [rows]",
            reason="INVALID_ROWS",
        )


class StreamWindow:
    """The requests of a stream that have not left as results, oldest first."""

    def __init__(
        self,
        flows: Flows,
        model: str,
        *,
        version: str,
        routing_key: str,
        timeout: float | None,
        look_ahead: int,
        on_error: OnError,
    ) -> None:
        if look_ahead < 1:
            raise ValueError(f"look_ahead is a number of requests, at least 1, not {look_ahead!r}")
        if on_error not in {"raise", "yield"}:
            raise ValueError(f"on_error is 'raise' or 'yield', not {on_error!r}")
        self._flows = flows
        self._route = Route(model=model, version=version, routing_key=routing_key)
        self._timeout = flows.timeout if timeout is None else check_timeout(timeout)
        self._look_ahead = look_ahead
        self._raises = on_error == "raise"
        self._slots: deque[_Slot] = deque()
        self._sent = 0

    def flow(self) -> StreamFlow:
        """The stream, from the first rows to the last result."""
        codec = yield from self._codec()
        yield Open()
        failures = 0
        exhausted = False
        while True:
            while self._slots and (result := self._slots[0].result) is not None:
                if self._raises and isinstance(result, ScorewireError):
                    raise result
                self._slots.popleft()
                yield Emit(result)
            if not exhausted and len(self._slots) < self._look_ahead:
                rows = yield TakeRows()
                if rows is END:
                    exhausted = True
                else:
                    codec = yield from self._add(rows, codec)
            elif not self._slots:
                return
            else:
                try:
                    answer = yield Receive(self._timeout)
                    stale = self._take(answer)
                except UnavailableError:
                    failures += 1
                    if failures >= MAX_ATTEMPTS:
                        raise
                    yield Sleep(random.uniform(0.5, 1) * _FIRST_BACKOFF_SECONDS * 2**failures)  # noqa: S311 - jitter
                    yield Open()
                    for slot in self._slots:
                        yield from self._send(slot)
                    continue
                failures = 0
                if stale is not None:
                    codec = yield from self._rebuild(stale)

    def _codec(self, stale: Codec | None = None) -> Generator[Call, Any, Codec]:
        return self._flows.codec(self._route, self._flows.deadline(self._timeout), stale=stale)

    def _add(self, rows: Rows, codec: Codec) -> Generator[Call | Send, Any, Codec]:
        """Send the caller's next rows; the codec that fitted them."""
        self._sent += 1
        slot = _Slot(number=self._sent, rows=rows, codec=codec)
        self._slots.append(slot)
        deadline = self._flows.deadline(self._timeout)
        try:
            slot.codec, slot.request = yield from self._flows.encode(codec, self._route, rows, deadline)
        except InvalidArgumentError as error:
            slot.result = error
        yield from self._send(slot)
        return slot.codec

    def _send(self, slot: _Slot) -> Generator[Send, Any, None]:
        if slot.result is None:
            yield Send(
                packed_pb2.PackedPredictStreamRequest(correlation_id=slot.number, request=slot.request)
            )

    def _take(self, answer: packed_pb2.PackedPredictStreamResponse) -> _Slot | None:
        """Note what an answer says; the slot itself where its request must be built anew.

        Raises:
            InternalError: the answer is to no request of this stream.
            UnavailableError: the server drains; another may take the request.
        """
        slot = next((slot for slot in self._slots if slot.number == answer.correlation_id), None)
        if slot is None or slot.request is None or slot.result is not None:
            raise InternalError(f"the server answered request {answer.correlation_id}, which is not open")
        if answer.HasField("response"):
            try:
                slot.result = slot.codec.decode(slot.rows, slot.request, answer.response)
            except InternalError as error:
                slot.result = error
            return None
        refusal = error_from_status(answer.error)
        if refusal.reason == _DRAINING and isinstance(refusal, UnavailableError):
            raise refusal
        if refusal.reason == SCHEMA_MISMATCH and not slot.rebuilt:
            return slot
        slot.result = refusal
        return None

    def _rebuild(self, slot: _Slot) -> Generator[Call | Send, Any, Codec]:
        """Build a slot's request for the schema that the server has now, and send it."""
        slot.rebuilt = True
        slot.codec = yield from self._codec(stale=slot.codec)
        try:
            slot.request = slot.codec.encode(self._route, slot.rows)
        except InvalidArgumentError as error:
            slot.result = error
        yield from self._send(slot)
        return slot.codec
