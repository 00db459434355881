"""Runs graphs in the extension: as programs of its kernel, or with onnxruntime's shared library.

The Python module of onnxruntime contains a second copy of the runtime, so it is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import scorewire_native
from scorewire_contract.service.start import StartError
from scorewire_server.engine.interpreted.run_limit import seconds_left
from scorewire_server.engine.runs_on import UnsupportedGraphError

# Element types by ONNX's numbers.
_DTYPES: dict[int, Any] = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64,
    9: np.bool_, 11: np.float64, 12: np.uint32, 13: np.uint64,
}  # fmt: skip
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_STRING = 8


def load_runtime() -> str:
    """Load the shared library of the installed onnxruntime package; returns its version.

    Raises:
        StartError: the package is not installed, or this engine cannot use its library.
    """
    spec = find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        for pattern in ("libonnxruntime.so.*", "libonnxruntime.*.dylib"):
            for library in sorted(Path(folder, "capi").glob(pattern)):
                try:
                    return str(scorewire_native.load_runtime(library))
                except RuntimeError as error:
                    raise StartError(f"the native engine has no onnxruntime: {error}") from None
    raise StartError("the native engine finds no onnxruntime library; install the onnxruntime package")


class NativeGraph:
    """A graph of the extension: a `RunGraph` for Python, and `native` for the extension."""

    def __init__(self, native: scorewire_native.Graph) -> None:
        self.native = native

    @property
    def description(self) -> str:
        """How a program runs, for people; "" for a session of onnxruntime."""
        return self.native.description()

    def __call__(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run the graph.

        Args:
            names: the names of the outputs.
            feeds: the inputs by name.

        Returns:
            An array for each name.

        Raises:
            TimeoutError: the run was stopped at the time of `run_until`.
            Exception: the inputs are refused.
        """
        inputs = [_feed(name, values) for name, values in feeds.items()]
        answers = self.native.run(names, inputs, seconds_left())
        return [
            np.array(data, dtype=object).reshape(shape)
            if isinstance(data, list)
            else np.frombuffer(data, dtype=_DTYPES[code]).reshape(shape)
            for code, shape, data in answers
        ]


def open_session(graph: bytes, threads: int) -> NativeGraph:
    """Open a session for an audited graph, on the CPU.

    Args:
        graph: the ONNX model.
        threads: threads that may work on one run.

    Raises:
        Exception: onnxruntime does not take the graph.
    """
    load_runtime()
    return NativeGraph(scorewire_native.Graph(graph, threads))


def compile_graph(graph: bytes) -> NativeGraph:
    """Compile an audited graph into a program of the kernel.

    Raises:
        UnsupportedGraphError: only onnxruntime runs the graph.
        StartError: there is no onnxruntime, which allocates the tensors of programs, too.
    """
    load_runtime()
    try:
        return NativeGraph(scorewire_native.Graph.compile(graph))
    except scorewire_native.UnsupportedError as error:
        raise UnsupportedGraphError(str(error)) from None


def _feed(name: str, values: NDArray[Any]) -> tuple[str, int, list[int], bytes | list[str]]:
    shape = list(values.shape)
    if values.dtype == object:
        return name, _STRING, shape, [str(text) for text in values.ravel()]
    return name, _CODES[values.dtype], shape, np.ascontiguousarray(values).tobytes()
