"""Runs programs of the kernel, which the package scorewire-kernel has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_server.engine.interpreted.run_limit import seconds_left
from scorewire_server.engine.runs_on import CompileGraph, UnsupportedGraphError, refuse_programs

PACKAGE = "scorewire_kernel"
# The rows of one run of the extension, which cannot be stopped.
_BLOCK_ROWS = 4096


class KernelProgram:
    """A program: a `RunGraph` whose runs stop at the time of `run_until`.

    Raises:
        UnsupportedGraphError: only onnxruntime runs the graph.
    """

    def __init__(self, graph: bytes) -> None:
        import scorewire_kernel  # noqa: PLC0415 - not installed everywhere

        try:
            self._program = scorewire_kernel.Program(graph)
        except scorewire_kernel.UnsupportedError as error:
            raise UnsupportedGraphError(str(error)) from None

    @property
    def description(self) -> str:
        """How the program runs, for people."""
        return self._program.description

    def __call__(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run the graph.

        Args:
            names: the names of the outputs.
            feeds: the inputs by name.

        Returns:
            An array for each name.

        Raises:
            TimeoutError: the run was stopped at the time of `run_until`.
            ValueError: the inputs are refused.
        """
        rows = {len(values) for values in feeds.values()}
        if len(rows) != 1:
            raise ValueError(f"the inputs have {sorted(rows)} rows")
        (row_count,) = rows
        blocks = []
        for begin in range(0, row_count, _BLOCK_ROWS) or [0]:
            left = seconds_left()
            if left is not None and left <= 0:
                raise TimeoutError("the run took too long and was stopped")
            block = {name: values[begin : begin + _BLOCK_ROWS] for name, values in feeds.items()}
            blocks.append(self._program.run(names, {name: _flat(values) for name, values in block.items()}))
        if len(blocks) == 1:
            return blocks[0]
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """The same values as [rows, width]."""
    return np.ascontiguousarray(values).reshape(len(values), math.prod(values.shape[1:]))


def find_compiler() -> CompileGraph:
    """Compiles graphs, where the package is installed."""
    if find_spec(PACKAGE) is None:
        return refuse_programs("the package scorewire-kernel is not installed")
    return KernelProgram
