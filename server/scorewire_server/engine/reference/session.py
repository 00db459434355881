"""Runs graphs with onnxruntime's Python module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scorewire_contract.scoring import RunGraph
from scorewire_server.engine.interpreted.run_limit import seconds_left
from scorewire_server.engine.reference.run_stopper import RunStopper

# Failures come back as exceptions. onnxruntime's own log lines would block on the standard error.
_FATAL_ONLY = 4
_RUN_STOPPER = RunStopper()


def open_session(graph: bytes, threads: int) -> RunGraph:
    """Open a session for an audited graph, on the CPU.

    Args:
        graph: the ONNX model. As bytes, so that nothing in it can be a path relative to a file.
        threads: threads that may work on one run.

    Returns:
        A function that runs the graph. A run that is stopped at the time of `run_until` raises
        TimeoutError.

    Raises:
        Exception: onnxruntime does not take the graph; the types are onnxruntime's own.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL_ONLY
    # Without this, waiting threads spin and take the processor from the event loop.
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
    """Run a graph for at most `seconds`; a longer run is stopped before its next operator.

    Raises:
        TimeoutError: the run was stopped.
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
