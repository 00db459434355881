"""The observer that hands predictions to the records, and the choice of which are kept.

Before an answer is encoded, `ticket` decides whether the prediction is kept, so that the
answer can name the record by the writer's next sequence number. The number is taken when
the record is handed over: a message that has no answer in the end leaves no gap. Nothing
is awaited in between.

The rules are those of routing/source.rs, so that both engines keep the same predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import random
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.rows import KEPT
from scorewire_contract.scoring import Scores
from scorewire_server.engine import split
from scorewire_server.engine.encodings.encoding import Request
from scorewire_server.engine.interpreted.observer import Prediction, Ticket
from scorewire_server.engine.recording import NO_SOURCES, RecordedSource, Sources
from scorewire_server.engine.snapshot import LoadedVersion, Route
from scorewire_server.engine.statistics import RouteKey

_MAX_U32 = (1 << 32) - 1
# About the memory of a record without its rows, of each text beside its bytes, and of each row's error.
_RECORD_BYTES, _TEXT_BYTES, _ERROR_BYTES = 2048, 64, 320


@dataclass(slots=True, eq=False)  # not frozen: that would cost a microsecond a record
class Record:
    """What is kept of a prediction. Its arrays and texts are those of the call, and are not changed.

    Attributes:
        source: what is recorded of the version on the route.
        flags: `KEPT`, or 0.
        began_ns: when the message arrived, a time of `perf_counter_ns`.
        server_us: microseconds from the decoded message to the outputs.
        model_us: microseconds of the run of the model.
        caller: the host of the caller.
        principal: the name of the principal that called; "" without --access.
        routing_key: the routing key, or "".
        row_count: rows.
        numbers: the numbers of the rows, row by row.
        texts: the texts of the rows, row by row.
        scores: the outputs and the errors of the rows.
        message_bytes: the size of the message.
        original: of a shadow: the record of the prediction that was copied.
    """

    source: RecordedSource
    flags: int
    began_ns: int
    server_us: int
    model_us: int
    caller: str
    principal: str
    routing_key: str
    row_count: int
    numbers: NDArray[np.float64]
    texts: Sequence[str]
    scores: Scores
    message_bytes: int
    original: PredictionId | None = None

    @property
    def memory_bytes(self) -> int:
        """About the memory that the record holds."""
        size: int = _RECORD_BYTES + self.message_bytes + self.numbers.nbytes + _TEXT_BYTES * len(self.texts)
        size += _ERROR_BYTES * len(self.scores.errors)
        for values in self.scores.outputs:
            size += values.nbytes
        return size


class RecordLane(Protocol):
    """The way of one writer's records to the spool. Never blocks; one thread at a time may use it."""

    def next_id(self) -> str:
        """The prediction_id of the next record."""
        ...

    def record(self, record: Record) -> None:
        """Keep a record, or drop and count it; in any case it takes the next sequence number."""
        ...

    def sampled_out(self, rows: int) -> None:
        """Count a prediction that is not kept; it takes no number."""
        ...


class RecordLanes(NamedTuple):
    """The lane for answers, which the event loop uses, and that for the thread of the shadows."""

    answers: RecordLane
    shadows: RecordLane


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """What the record of a copy for a shadow has of the prediction that was copied.

    Attributes:
        source: what is recorded of the shadow.
        request: the rows.
        message_bytes: the size of the message.
        original: the record of the prediction; None if it has none. Then the copy gets none either.
        flags: the flags of that record.
        caller: the host of the caller.
        principal: the name of the principal that called; "" without --access.
        routing_key: the routing key, or "".
    """

    source: RecordedSource
    request: Request
    message_bytes: int
    original: PredictionId | None
    flags: int
    caller: str
    principal: str
    routing_key: str


def choose(source: RecordedSource, routing_key: str, *, error: bool, shadowed: bool) -> int | None:
    """The flags of a prediction's record; None if the prediction is not kept.

    Args:
        source: the policy.
        routing_key: the routing key, or "".
        error: whether a row has an error.
        shadowed: whether the message is copied to a shadow.
    """
    if source.share >= 1:
        return 0
    if (error and source.keep_errors) or (shadowed and source.keep_shadowed):
        return KEPT
    if source.by_key and routing_key:
        sampled = split.samples(routing_key, source.share)
    else:
        sampled = random() < source.share  # noqa: S311 - a sample, no secret
    return 0 if sampled else None


class PredictionRecorder:
    """An `Observer` that records predictions; to be used from one event loop, except `record_shadow`."""

    def __init__(self, lanes: RecordLanes) -> None:
        self._lane, self._shadows = lanes
        self._sources: Sources = NO_SOURCES

    def publish(self, sources: Sources) -> None:
        """Record from now on what these sources say."""
        self._sources = sources

    def begin(self, prediction: Prediction, route: Route, version: LoadedVersion) -> None:
        """Note the sources of a prediction, which stay the same if others are published meanwhile."""
        find = self._sources.get
        prediction.source = find(RouteKey(route.model, version.version, route.name))
        if route.shadow is not None:
            key = RouteKey(route.model, route.shadow[0].version, route.name, shadow=True)
            prediction.shadow_source = find(key)

    def ticket(self, prediction: Prediction, scores: Scores) -> str:
        """Decide whether a prediction is kept; the id of its record, or ""."""
        source = prediction.source
        if source is None:
            return ""
        flags = choose(
            source, prediction.routing_key, error=bool(scores.errors), shadowed=prediction.shadowed
        )
        if flags is None:
            return ""
        prediction_id = self._lane.next_id()
        prediction.ticket = Ticket(prediction_id, flags)
        return prediction_id

    def observe(self, prediction: Prediction) -> None:
        """Record a prediction that was answered, if it is kept."""
        source, request, scores = prediction.source, prediction.request, prediction.scores
        if source is None or request is None or scores is None or prediction.failure is not None:
            return
        ticket = prediction.ticket
        if ticket is None:
            self._lane.sampled_out(request.row_count)
            return
        self._lane.record(
            Record(
                source,
                ticket.flags,
                prediction.began_ns,
                _microseconds(prediction.scored_ns - prediction.decoded_ns),
                _microseconds(scores.model_ns),
                prediction.context.peer.host,
                prediction.context.principal_name,
                prediction.routing_key,
                request.row_count,
                request.numbers,
                request.texts,
                scores,
                prediction.message_bytes,
            )
        )

    def shadow_record(self, prediction: Prediction) -> ShadowRecord | None:
        """What the record of a copy will have of a prediction; None if nothing is recorded of the shadow."""
        source, request = prediction.shadow_source, prediction.request
        if source is None or request is None:
            return None
        # A call that failed has no record, whatever its ticket says.
        ticket = prediction.ticket if prediction.failure is None else None
        return ShadowRecord(
            source,
            request,
            prediction.message_bytes,
            None if ticket is None else PredictionId.parse(ticket.prediction_id),
            0 if ticket is None else ticket.flags,
            prediction.context.peer.host,
            prediction.context.principal_name,
            prediction.routing_key,
        )

    def record_shadow(self, copied: ShadowRecord, scores: Scores, began_ns: int, scored_ns: int) -> None:
        """Record the scores of a copy, if the prediction that was copied has a record.

        Args:
            copied: what `shadow_record` said of the prediction.
            scores: the outputs and the errors of the rows.
            began_ns: when the shadow began to score, a time of `perf_counter_ns`.
            scored_ns: when the rows were scored.
        """
        request = copied.request
        if copied.original is None:
            self._shadows.sampled_out(request.row_count)
            return
        self._shadows.record(
            Record(
                copied.source,
                copied.flags,
                began_ns,
                _microseconds(scored_ns - began_ns),
                _microseconds(scores.model_ns),
                copied.caller,
                copied.principal,
                copied.routing_key,
                request.row_count,
                request.numbers,
                request.texts,
                scores,
                copied.message_bytes,
                copied.original,
            )
        )


def _microseconds(nanoseconds: int) -> int:
    return min(max(nanoseconds, 0) // 1000, _MAX_U32)
