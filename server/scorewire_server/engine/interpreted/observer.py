"""Observers: the sinks of predictions, such as statistics and the shadow.

The predictor tells every observer about every message, exactly once, when the answer
is written or the message has failed. Observers run on the event loop, on the path of
every call. So an observer must be quick, must not raise, and must not change the
prediction.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import NamedTuple, Protocol

from scorewire_contract.scoring import Scores
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.encoding import Request
from scorewire_server.engine.encodings.methods import PredictionMethod
from scorewire_server.engine.explaining import Explained
from scorewire_server.engine.recording import RecordedSource
from scorewire_server.engine.snapshot import LoadedVersion, Route
from scorewire_server.engine.tracer import CallTrace
from scorewire_server.errors import Code, Reason


class Ticket(NamedTuple):
    """The right to the next record, which the answer names.

    Attributes:
        prediction_id: the id of the prediction.
        flags: the flags of the record.
    """

    prediction_id: str
    flags: int


class Prediction:
    """One message, filled in while it is answered.

    Attributes:
        method: the method that was called.
        context: the call that the message is of.
        message_bytes: the size of the message.
        route: the route of the names in the message; None if they lead nowhere.
        version: the version that was picked; None without a route.
        request: the rows; None if they could not be read.
        routing_key: the routing key, or "".
        source: what is recorded of the version on the route; None if nothing is.
        shadow_source: what is recorded of the route's shadow; None if nothing is.
        scores: outputs and errors of the rows; None if they were not scored.
        explained: the contributions of the rows; None if the caller does not want them.
        shadowed: whether the message is among those that are copied to the route's shadow.
        ticket: the record that the answer names; None for a prediction that is not recorded.
        failure: the code and the reason of the failure; None for a prediction that was answered.
        trace: the trace of the message; None if the message is not traced.
        began_ns: when the message arrived. All times are of `perf_counter_ns`.
        decoded_ns: when the rows were read.
        route_began_ns: of a traced message: when the version began to be looked for.
        routed_ns: of a traced message: when the version was picked.
        scored_ns: when the rows were scored.
        ended_ns: when the answer was written, or the message had failed.
    """

    __slots__ = (
        "began_ns",
        "context",
        "decoded_ns",
        "ended_ns",
        "explained",
        "failure",
        "message_bytes",
        "method",
        "request",
        "route",
        "route_began_ns",
        "routed_ns",
        "routing_key",
        "scored_ns",
        "scores",
        "shadow_source",
        "shadowed",
        "source",
        "ticket",
        "trace",
        "version",
    )

    def __init__(self, method: PredictionMethod, context: CallContext, message_bytes: int) -> None:
        self.method = method
        self.context = context
        self.message_bytes = message_bytes
        self.route: Route | None = None
        self.version: LoadedVersion | None = None
        self.request: Request | None = None
        self.routing_key = ""
        self.source: RecordedSource | None = None
        self.shadow_source: RecordedSource | None = None
        self.scores: Scores | None = None
        self.explained: Explained | None = None
        self.shadowed = False
        self.ticket: Ticket | None = None
        self.failure: tuple[Code, Reason] | None = None
        self.began_ns = perf_counter_ns()
        self.decoded_ns = self.scored_ns = self.ended_ns = 0
        self.route_began_ns = self.routed_ns = 0
        self.trace: CallTrace | None = None


class Observer(Protocol):
    """A sink of predictions."""

    def observe(self, prediction: Prediction) -> None:
        """Take note of a prediction, answered or failed."""
        ...
