"""A graph in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scorewire_contract.scoring import RunGraph

# What fails comes back as an exception; onnxruntime's own lines would wait for whoever reads them.
_FATAL_ONLY = 4


def open_session(graph: bytes, threads: int) -> RunGraph:
    """Make a session of a graph that has been audited; it runs on the CPU.

    The graph comes as bytes, so that nothing in it can name a file.

    Args:
        graph: the ONNX model.
        threads: how many may work on one call.

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
        answers: Sequence[NDArray[Any]] = session.run(names, feeds)
        return [np.asarray(answer) for answer in answers]

    return run
