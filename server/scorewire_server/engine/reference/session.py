"""A graph in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scorewire_contract.scoring import RunGraph
from scorewire_server.engine.interpreted.run_limit import seconds_left
from scorewire_server.engine.reference.run_stopper import RunStopper

# What fails comes back as an exception; onnxruntime's own lines would wait for whoever reads them.
_FATAL_ONLY = 4
_RUN_STOPPER = RunStopper()


def open_session(graph: bytes, threads: int) -> RunGraph:
    """Make a session of a graph that has been audited; it runs on the CPU.

    The graph comes as bytes, so that nothing in it can name a file.

    Args:
        graph: the ONNX model.
        threads: how many may work on one call.

    What it returns runs the graph; a run is stopped at the time of `run_until`, and raises TimeoutError.

    Raises:
        Exception: onnxruntime does not take the graph; the types are its own.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL_ONLY
    # A waiting thread would take the core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])

    def run(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        left = seconds_left()
        answers = session.run(names, feeds) if left is None else _run_within(left, session, names, feeds)
        return [np.asarray(answer) for answer in answers]

    return run


def _run_within(
    seconds: float, session: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, NDArray[Any]]
) -> Sequence[NDArray[Any]]:
    """Run a graph; one that takes longer is stopped before its next operator.

    Raises:
        TimeoutError: it was stopped.
    """
    options = onnxruntime.RunOptions()
    options.log_severity_level = _FATAL_ONLY
    try:
        with _RUN_STOPPER.watched(options, seconds):
            answers: Sequence[NDArray[Any]] = session.run(names, feeds, options)
    except Exception:
        if options.terminate:
            raise TimeoutError("the run took too long and was stopped") from None
        raise
    return answers
