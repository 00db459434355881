"""A PredictStream call, without I/O, so that both clients share it.

A stream's flow is a generator that yields the next step: take the caller's next
rows, send a request, wait for a response, emit results. The rules:

- A batch is sent at once, in one request, or in several that follow each other if
  it exceeds the limits. A row that is given alone, as a dict, is sent at once if
  no request is without a response. Otherwise it waits, and the next response
  sends all rows that wait in one request, a frame. A full frame is sent at once.
  The thread or task that reads responses sends frames, so that no row waits for
  the caller's next one.
- Rows are taken from the caller only while there is room: by default for
  `MAX_FRAMES` batches or full frames, else for `look_ahead` batches or rows.
- Results are emitted in the order of the rows, predictions and errors alike, and
  as soon as the next rows are asked for.
- A request that the server refuses with SCHEMA_MISMATCH is encoded for the new
  schema and sent once more.
- If the connection breaks or the server drains, the stream is reopened and every
  request without a response is sent again, as `Attempts` allows it. It counts
  failures in a row, with no response in between.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from scorewire._attempts import Attempts, FailurePolicy, is_limited
from scorewire._codec import Codec, Exchange, Route
from scorewire._errors import (
    InternalError,
    InvalidRowsError,
    ResourceExhaustedError,
    ScorewireError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    error_from_status,
)
from scorewire._explain import Explaining, explain_message
from scorewire._flows import Flows, Sleep, check_timeout
from scorewire._methods import PREDICT_STREAM
from scorewire._predictions import Predictions
from scorewire._rows import MAPPINGS, Rows, is_frame
from scorewire._stream_steps import END, LATER, Emit, Open, Receive, Result, Send, StreamFlow, TakeRows
from scorewire_proto.v1 import packed_pb2

MAX_FRAMES = 8
# A row that is given alone has one share of a frame, and one more for each KiB of its texts.
FRAME_SHARES = 1000
_SHARE_CHARACTERS = 1024
# Before a request that a limit refused is sent again, whatever the server tells.
_LEAST_PAUSE_SECONDS = 0.001
_DRAINING = "DRAINING"

OnError: TypeAlias = Literal["raise", "yield"]


_TAKE_ROWS = TakeRows()


@dataclass(slots=True, eq=False)
class _Item:
    """What the caller gave at once, a batch or one row, and its result once there is one."""

    rows: Rows
    shares: int
    result: Result | None = None


@dataclass(slots=True, eq=False)
class _Frame:
    """Rows that the server has not answered: those of one batch, or of several items of one row.

    Attributes:
        number: the correlation id of its requests.
        items: the items.
        exchange: its requests and responses.
        refusal: why the rows must be encoded again; None if they need not.
        renewed: whether the rows were encoded again before.
        limited_until: when to stop sending a request that a limit of the caller refuses; None if none has.
    """

    number: int
    items: list[_Item]
    exchange: Exchange
    renewed: bool
    refusal: ScorewireError | None = None
    limited_until: float | None = None

    def finish(self, result: Predictions | ScorewireError) -> None:
        """Give each item its result."""
        if isinstance(result, ScorewireError):
            for item in self.items:
                item.result = result
        elif isinstance(self.items[0].rows, Mapping):
            for item, prediction in zip(self.items, result, strict=True):
                error = prediction.error
                item.result = prediction
                if error is not None and error.row:
                    item.result = replace(prediction, error=replace(error, row=0))
        else:
            self.items[0].result = result


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
    """The window of a stream: what the caller gave and whose results are not emitted yet, oldest first.

    `arrived` and `ended` are for the thread or task that reads responses, and
    `opening` is for the one that opens the stream. All else belongs to the flow, and
    to what carries out its steps.

    Raises:
        ValueError: `look_ahead`, `on_error`, `timeout` or `explain` is out of its range.
    """

    def __init__(
        self,
        flows: Flows,
        policy: FailurePolicy,
        model: str,
        *,
        version: str,
        routing_key: str,
        timeout: float | None,
        look_ahead: int | None,
        on_error: OnError,
        explain: Explaining = False,
        caller: bytes = b"",
    ) -> None:
        if look_ahead is not None and look_ahead < 1:
            raise ValueError(f"look_ahead is a number of batches or rows, at least 1, not {look_ahead!r}")
        if on_error not in {"raise", "yield"}:
            raise ValueError(f"on_error is 'raise' or 'yield', not {on_error!r}")
        self._flows = flows
        self._policy = policy
        self._route = Route(
            model=model,
            version=version,
            routing_key=routing_key,
            caller=caller,
            explain=explain_message(explain),
        )
        self.timeout = flows.timeout if timeout is None else check_timeout(timeout)
        self._look_ahead = look_ahead
        self._raises = on_error == "raise"
        self._codec: Codec
        self._items: deque[_Item] = deque()
        self._shares = 0
        # What could not be encoded together with others: the flow encodes each of them alone.
        self._suspects: deque[_Item] = deque()
        # The lock guards what follows.
        self._lock = threading.Lock()
        self._waiting: list[_Item] = []
        self._waiting_shares = 0
        self._frames: dict[int, _Frame] = {}
        self._numbers = 0
        # Requests without a response, and responses that the flow has not received yet.
        self._unanswered = 0
        self._arrived = 0

    def opening(self) -> None:
        """Note that a stream is opened; nothing arrives any more on the one before."""
        with self._lock:
            self._unanswered = self._arrived = 0

    def arrived(self) -> packed_pb2.PackedPredictStreamRequest | None:
        """Note that a response has arrived, before the flow gets it; returns a request to send now."""
        with self._lock:
            self._arrived += 1
            self._unanswered -= 1
            return None if self._unanswered > 0 else self._pack_waiting()

    def ended(self) -> None:
        """Note that no more responses will arrive on the open stream, before the flow gets to know."""
        with self._lock:
            self._arrived += 1

    @property
    def room(self) -> int:
        """The most rows that may be taken from the caller now; a batch counts as one, or as many."""
        if self._look_ahead is not None:
            return self._look_ahead - len(self._items)
        return MAX_FRAMES * FRAME_SHARES - self._shares

    @property
    def has_news(self) -> bool:
        """Whether the flow can receive a response now, so that rows are to be taken later."""
        return bool(self._arrived and self._items)

    def flow(self) -> StreamFlow:
        """The flow of the stream, from the first rows to the last result."""
        self._codec = yield from self._flows.codec(self._route, self._deadline())
        with self._policy.begin(PREDICT_STREAM) as attempts:
            yield from self._exchange(attempts)

    def _exchange(self, attempts: Attempts) -> StreamFlow:
        """Take rows, send requests and emit results, until all have theirs."""
        yield Open()
        exhausted = False
        while True:
            while self._suspects:
                yield from self._encode(self._suspects.popleft())
            if results := self._ready():
                yield Emit(results)
            elif not exhausted and self.room > 0 and not self.has_news:
                rows = yield _TAKE_ROWS
                exhausted = rows is END
                if rows is not LATER:
                    yield from self._send_waiting() if exhausted else self._add(rows)
            elif not self._items:
                return
            else:
                try:
                    response = yield Receive(self.timeout)
                    frame = self._take(response)
                except UnauthenticatedError as error:
                    # Such as where the token has expired with which the stream was opened.
                    if not attempts.may_renew():
                        raise
                    yield from self._open_again(refused=error)
                    continue
                except (UnavailableError, ResourceExhaustedError) as error:
                    # A response has its timeout, and so has the wait for it: a server may ask for any.
                    pause = attempts.pause(error, self.timeout)
                    if pause is None:
                        raise
                    yield Sleep(pause)
                    yield from self._open_again()
                    continue
                attempts.succeeded()
                if frame is not None:
                    yield from self._go_on(frame)

    def _deadline(self) -> float:
        return self._flows.deadline(self.timeout)

    def _ready(self) -> list[Result]:
        """Take out the results that are the next ones in the order of the rows.

        Raises:
            ScorewireError: the next result is an error, and the caller wants it raised.
        """
        results: list[Result] = []
        items = self._items
        while items and (result := items[0].result) is not None:
            if self._raises and isinstance(result, ScorewireError):
                if not results:
                    raise result
                break
            self._shares -= items.popleft().shares
            results.append(result)
        return results

    def _add(self, rows: Rows) -> StreamFlow:
        """Send the caller's next rows, or let them wait for others."""
        if not isinstance(rows, MAPPINGS):
            item = _Item(rows, FRAME_SHARES)
            self._admit(item)
            yield from self._encode(item)
            return
        # A copy, because the caller may change the row before it is encoded.
        row = dict(rows)
        characters = sum(len(value) for value in row.values() if isinstance(value, str))
        item = _Item(row, 1 + characters // _SHARE_CHARACTERS)
        self._admit(item)
        with self._lock:
            self._waiting.append(item)
            self._waiting_shares += item.shares
            is_due = not self._unanswered or self._waiting_shares >= FRAME_SHARES
            request = self._pack_waiting() if is_due else None
        if request is not None:
            yield Send(request)

    def _send_waiting(self) -> StreamFlow:
        with self._lock:
            request = self._pack_waiting()
        if request is not None:
            yield Send(request)

    def _admit(self, item: _Item) -> None:
        self._items.append(item)
        self._shares += item.shares

    def _encode(self, item: _Item, *, renewed: bool = False) -> StreamFlow:
        """Encode an item alone, for a new schema if it does not fit an old one, and send it."""
        try:
            self._codec, rows = yield from self._flows.encode(
                self._codec, self._route, item.rows, self._deadline()
            )
            exchange = Exchange(self._codec, self._route, rows)
        except ScorewireError as error:
            item.result = error
            return
        with self._lock:
            request = self._frame([item], exchange, renewed=renewed)
        yield Send(request)

    def _pack_waiting(self) -> packed_pb2.PackedPredictStreamRequest | None:
        items, self._waiting, self._waiting_shares = self._waiting, [], 0
        return self._pack(items) if items else None

    def _pack(
        self, items: Iterable[_Item], *, renewed: bool = False
    ) -> packed_pb2.PackedPredictStreamRequest | None:
        """Make a frame of items of one row; those that fit no frame become suspects."""
        codec = self._codec
        packed: list[_Item] = []
        numbers: list[object] = []
        texts: list[object] = []
        for item in items:
            try:
                of_row = codec.encoder.take(item.rows)  # type: ignore[arg-type]  # a mapping
            except InvalidRowsError:
                self._suspects.append(item)
            else:
                packed.append(item)
                numbers += of_row[0]
                texts += of_row[1]
        try:
            rows, misfits = codec.encoder.encode_taken(len(packed), numbers, texts)
            fitting = [item for row, item in enumerate(packed) if row not in misfits]
            exchange = Exchange(codec, self._route, rows) if fitting else None
        except Exception:
            # A row beyond the limits, or an error of a value's own code: the flow finds out which row it is.
            self._suspects.extend(packed)
            return None
        self._suspects.extend(packed[row] for row in sorted(misfits))
        return None if exchange is None else self._frame(fitting, exchange, renewed=renewed)

    def _frame(
        self, items: list[_Item], exchange: Exchange, *, renewed: bool
    ) -> packed_pb2.PackedPredictStreamRequest:
        self._numbers += 1
        frame = _Frame(self._numbers, items, exchange, renewed)
        self._frames[frame.number] = frame
        return self._request(frame)

    def _request(self, frame: _Frame) -> packed_pb2.PackedPredictStreamRequest:
        self._unanswered += 1
        return packed_pb2.PackedPredictStreamRequest(
            correlation_id=frame.number, request=frame.exchange.request
        )

    def _open_again(self, refused: UnauthenticatedError | None = None) -> StreamFlow:
        yield Open(refused)
        with self._lock:
            requests = [self._request(frame) for frame in self._frames.values()]
            if not requests and (waiting := self._pack_waiting()) is not None:
                requests = [waiting]
        for request in requests:
            yield Send(request)

    def _take(self, response: packed_pb2.PackedPredictStreamResponse) -> _Frame | None:
        """Take a response to a frame.

        Returns:
            The frame, if it has a further request or must be encoded again; else None.

        Raises:
            InternalError: the response belongs to no open request of this stream.
            UnavailableError: the server drains; another server may take the request.
        """
        with self._lock:
            self._arrived = max(0, self._arrived - 1)
            frame = self._frames.get(response.correlation_id)
        if frame is None:
            raise InternalError(f"the server answered request {response.correlation_id}, which is not open")
        result: Predictions | ScorewireError | None
        if response.HasField("response"):
            try:
                result = frame.exchange.take(response.response)
            except (InternalError, UnimplementedError) as error:
                result = error
        else:
            result = error_from_status(response.error)
            if result.reason == _DRAINING and isinstance(result, UnavailableError):
                raise result
            if not frame.renewed or is_limited(result):
                frame.refusal = result
                return frame
        if result is None:
            return frame
        self._close(frame, result)
        return None

    def _close(self, frame: _Frame, result: Predictions | ScorewireError) -> None:
        with self._lock:
            del self._frames[frame.number]
        frame.finish(result)

    def _pause(self, frame: _Frame, refusal: ScorewireError) -> float | None:
        """Seconds after which a request that a limit of the caller refused is sent again; None for never."""
        if not is_limited(refusal):
            return None
        now, pause = time.monotonic(), max(refusal.retry_after or 0.0, _LEAST_PAUSE_SECONDS)
        if frame.limited_until is None:
            frame.limited_until = now + self.timeout
        return pause if now + pause < frame.limited_until else None

    def _go_on(self, frame: _Frame) -> StreamFlow:
        """Send the next request of a frame, or encode its rows again where its codec is out of date."""
        refusal, frame.refusal = frame.refusal, None
        if refusal is not None and (pause := self._pause(frame, refusal)) is not None:
            yield Sleep(pause)
            refusal = None
        elif refusal is None:
            frame.limited_until = None
        if refusal is None:
            with self._lock:
                request = self._request(frame)
            yield Send(request)
            return
        if frame.renewed:
            self._close(frame, refusal)
            return
        try:
            codec = yield from self._flows.renewed(
                frame.exchange.codec, self._route, refusal, self._deadline()
            )
        except ScorewireError as error:
            codec, refusal = None, error
        if codec is None:
            self._close(frame, refusal)
            return
        self._codec = codec
        with self._lock:
            del self._frames[frame.number]
        if isinstance(frame.items[0].rows, Mapping):
            with self._lock:
                packed = self._pack(frame.items, renewed=True)
            if packed is not None:
                yield Send(packed)
        else:
            yield from self._encode(frame.items[0], renewed=True)
