"""Runs graphs on the CPU with onnxruntime, as the engines do."""

from __future__ import annotations

import onnxruntime

from scorewire_contract.scoring import RunGraph
from scorewire_training.export.errors import ExportError

# Errors are raised, so they need not be printed as well.
_ONLY_FATAL = 4


def open_graph(graph: bytes) -> RunGraph:
    """Load a graph; returns the function that runs it.

    Raises:
        ExportError: onnxruntime does not load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    # As on servers: with more threads, onnxruntime adds the trees of a large call in
    # another order, and the last bits depend on the number of cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} does not load the graph: {error}"
        ) from error
    run: RunGraph = session.run
    return run
