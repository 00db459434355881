"""A PredictStream call, without I/O, so that both clients share it.

A stream's flow is a generator that yields the next step: take the caller's next
rows, send a request, wait for a response, emit a result. The rules:

- At most `look_ahead` requests are without a response. Rows are taken from the
  caller only when there is room for another request.
- Results are emitted in the order of the rows, predictions and errors alike.
- A request that the server refuses with SCHEMA_MISMATCH is encoded for the new
  schema and sent once more.
- If the connection breaks or the server drains, the stream is reopened and every
  request without a response is sent again. After `MAX_ATTEMPTS` failures in a
  row, with no response in between, the stream fails.
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
    """The type of `END`, which means that there are no more rows or no more responses."""


END: Final = _End()


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Take the caller's next rows; send the rows, or END, into the flow."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the stream, and close the one that was open."""


@dataclass(frozen=True, slots=True, eq=False)
class Send:
    """Send a request on the open stream."""

    request: packed_pb2.PackedPredictStreamRequest


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next response on the open stream, at most `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait before the next step."""

    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Emit:
    """Give a result to the caller."""

    result: Result


StreamFlow: TypeAlias = Generator[Call | TakeRows | Open | Send | Receive | Sleep | Emit, Any, None]


@dataclass(slots=True, eq=False)
class _Slot:
    """A request of the stream, and its result once there is one."""

    number: int
    rows: Rows
    codec: Codec
    request: packed_pb2.PackedPredictRequest | None = None
    result: Result | None = None
    rebuilt: bool = False


def check_batches(batches: object) -> None:
    """Check that `batches` is not itself one batch.

    Iterating over one batch gives parts that are refused with confusing messages.

    Raises:
        InvalidRowsError: `batches` is one batch.
    """
    is_matrix = isinstance(batches, np.ndarray) and batches.ndim <= 2
    if is_matrix or is_frame(batches) or isinstance(batches, Mapping):
        raise InvalidRowsError(
            f"a stream takes an iterable of batches, and this {type(batches).__name__} is one: pass [rows]",
            reason="INVALID_ROWS",
        )


class StreamWindow:
    """The window of a stream: its requests whose results are not emitted yet, oldest first.

    Raises:
        ValueError: `look_ahead`, `on_error` or `timeout` is out of its range.
    """

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
        """The flow of the stream, from the first rows to the last result."""
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
                    response = yield Receive(self._timeout)
                    stale = self._take(response)
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
        """Send the caller's next rows; returns the codec that encoded them."""
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

    def _take(self, response: packed_pb2.PackedPredictStreamResponse) -> _Slot | None:
        """Set the result of the request that a response belongs to.

        Returns:
            The slot, if its request must be encoded again for a new schema; else None.

        Raises:
            InternalError: the response belongs to no open request of this stream.
            UnavailableError: the server drains; another server may take the request.
        """
        slot = next((slot for slot in self._slots if slot.number == response.correlation_id), None)
        if slot is None or slot.request is None or slot.result is not None:
            raise InternalError(f"the server answered request {response.correlation_id}, which is not open")
        if response.HasField("response"):
            try:
                slot.result = slot.codec.decode(slot.rows, slot.request, response.response)
            except InternalError as error:
                slot.result = error
            return None
        refusal = error_from_status(response.error)
        if refusal.reason == _DRAINING and isinstance(refusal, UnavailableError):
            raise refusal
        if refusal.reason == SCHEMA_MISMATCH and not slot.rebuilt:
            return slot
        slot.result = refusal
        return None

    def _rebuild(self, slot: _Slot) -> Generator[Call | Send, Any, Codec]:
        """Encode a slot's rows for the schema that the server has now, and send them."""
        slot.rebuilt = True
        slot.codec = yield from self._codec(stale=slot.codec)
        try:
            slot.request = slot.codec.encode(self._route, slot.rows)
        except InvalidArgumentError as error:
            slot.result = error
        yield from self._send(slot)
        return slot.codec
