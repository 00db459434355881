"""What is told of each prediction, and to whom.

The predictor tells every observer of every message that asked for a prediction,
once, when its answer or its failure is written. An observer is called on the
event loop: it must be quick, and it must neither raise nor change anything.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

from scorewire_contract.scoring import Scores
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.encoding import Request
from scorewire_server.engine.encodings.methods import PredictionMethod
from scorewire_server.engine.snapshot import LoadedVersion, Route


class Prediction:
    """One message, filled in while it is answered.

    Attributes:
        method: the method that was called.
        context: the call that the message is of.
        message_bytes: the size of the message.
        route: what the names in the message lead to; None where they lead nowhere.
        version: the version of the route that was picked; None without a route.
        request: the rows; None where they could not be read.
        scores: outputs and errors of the rows; None where they were not scored.
        error: why the message was not answered with the scores; None where it was.
        began_ns: when the message came, of `perf_counter_ns`, as the next ones.
        decoded_ns: when the rows were read.
        scored_ns: when they were scored.
        ended_ns: when the answer was written.
    """

    __slots__ = (
        "began_ns",
        "context",
        "decoded_ns",
        "ended_ns",
        "error",
        "message_bytes",
        "method",
        "request",
        "route",
        "scored_ns",
        "scores",
        "version",
    )

    def __init__(self, method: PredictionMethod, context: CallContext, message_bytes: int) -> None:
        self.method = method
        self.context = context
        self.message_bytes = message_bytes
        self.route: Route | None = None
        self.version: LoadedVersion | None = None
        self.request: Request | None = None
        self.scores: Scores | None = None
        self.error: Exception | None = None
        self.began_ns = perf_counter_ns()
        self.decoded_ns = self.scored_ns = self.ended_ns = 0


class Observer(Protocol):
    """A sink of predictions, such as a record of them."""

    def observe(self, prediction: Prediction) -> None:
        """Take note of a prediction that was answered or has failed."""
        ...
