"""Runs graphs on the CPU with onnxruntime, as the engines do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from scorewire_contract.memory import explain_memory, lacks_memory
from scorewire_contract.scoring import RunGraph
from scorewire_training.export.errors import ExportError

# Errors are raised, so they need not be printed as well.
_ONLY_FATAL = 4
_ADVICE = "export a smaller model, or use a machine with more memory"


def open_graph(graph: bytes) -> RunGraph:
    """Load a graph; returns the function that runs it, which raises ExportError where memory runs out.

    Raises:
        ExportError: onnxruntime does not load the graph.
    """
    said = f"onnxruntime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    # As on servers: with more threads, onnxruntime adds the trees of a large call in
    # another order, and the last bits depend on the number of cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        text = f"{said} does not load the graph of {len(graph)} bytes: {type(error).__name__}: {error}"
        raise ExportError(explain_memory(text, _ADVICE)) from error

    def run(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        try:
            answers: Sequence[NDArray[Any]] = session.run(names, feeds)
        except Exception as error:
            rows = max((len(values) for values in feeds.values()), default=0)
            text = f"{said} does not run the graph on {rows} rows: {type(error).__name__}: {error}"
            if lacks_memory(text):
                raise ExportError(explain_memory(text, _ADVICE)) from error
            raise
        return answers

    return run
