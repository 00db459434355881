"""The observer that ends the traces of predictions."""

from __future__ import annotations

from time import perf_counter_ns

from google.rpc import code_pb2

from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.interpreted.observer import Prediction
from scorewire_server.engine.tracer import Passed
from scorewire_server.engine.tracing import STAGES

_DECODE, _ROUTE, _EXPLAIN, _RUN, _ENCODE, _RECORD = range(len(STAGES))


class TraceObserver:
    """An `Observer` that ends the trace of a prediction; the last of them, since it looks at the record."""

    def observe(self, prediction: Prediction) -> None:
        """End the trace of a prediction, if it is traced."""
        if prediction.trace is None:
            return
        code, reason = prediction.failure or (code_pb2.OK, errors_pb2.ERROR_REASON_UNSPECIFIED)
        prediction.trace.end(code, reason, prediction.ended_ns, _passed(prediction, perf_counter_ns()))


def _passed(prediction: Prediction, now_ns: int) -> Passed:
    route, version, request = prediction.route, prediction.version, prediction.request
    scores, ticket = prediction.scores, prediction.ticket
    scored = scores is not None and request is not None
    return Passed(
        stages=_stages(prediction, now_ns),
        model="" if version is None else version.model,
        version="" if version is None else version.version,
        route="" if route is None else route.name,
        rows=request.row_count if scored and request is not None else -1,
        row_errors=len(scores.errors) if scored and scores is not None else -1,
        prediction_id=ticket.prediction_id if ticket is not None and prediction.failure is None else "",
        shared=1 if _ran(prediction) else 0,
    )


def _ran(prediction: Prediction) -> bool:
    """Whether the graph ran: not if every row has an error."""
    scores, request = prediction.scores, prediction.request
    return scores is not None and request is not None and len(scores.errors) < request.row_count


def _stages(prediction: Prediction, now_ns: int) -> list[tuple[int, int, int]]:
    """The stages that a prediction has passed, each with its begin and its end."""
    stages = []
    if prediction.decoded_ns:
        stages.append((_DECODE, prediction.began_ns, prediction.decoded_ns))
    if prediction.routed_ns:
        stages.append((_ROUTE, prediction.route_began_ns, prediction.routed_ns))
    scores, scored_ns, ended_ns = prediction.scores, prediction.scored_ns, prediction.ended_ns
    if scores is not None:
        if _ran(prediction):
            run_began_ns = scored_ns - scores.model_ns
            if prediction.explained is not None:
                # Rows are explained just before they are run.
                stages.append((_EXPLAIN, run_began_ns - prediction.explained.ns, run_began_ns))
            stages.append((_RUN, run_began_ns, scored_ns))
        if prediction.failure is None:
            stages.append((_ENCODE, scored_ns, ended_ns))
            if prediction.ticket is not None:
                stages.append((_RECORD, ended_ns, now_ns))
    return stages
