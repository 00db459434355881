"""Graphs run on the CPU by onnxruntime, as the engines run them."""

from __future__ import annotations

import onnxruntime

from scorewire_contract.scoring import RunGraph
from scorewire_training.export.errors import ExportError

# What fails is raised, and need not be printed beside.
_ONLY_FATAL = 4


def open_graph(graph: bytes) -> RunGraph:
    """A function that runs the graph.

    Raises:
        ExportError: onnxruntime does not take it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    # As servers do: with more threads, onnxruntime adds the trees of a large
    # call in another order, and the last bits depend on the number of cores.
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
