"""Contributions of trees, computed by the package scorewire-kernel."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.tree_terms import tree_terms
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_server.engine.interpreted.run_limit import seconds_left
from scorewire_server.engine.reference.program import PACKAGE
from scorewire_server.engine.runs_on import UnsupportedGraphError

# The rows of one run of the package, which cannot be stopped.
_BLOCK_ROWS = 512


class KernelContributions:
    """`TreeContributions` whose runs stop at the time of `run_until`.

    Raises:
        UnsupportedGraphError: there are no contributions of these trees.
    """

    def __init__(self, graph: bytes, output: manifest_pb2.ExplainedOutput, columns: int) -> None:
        if find_spec(PACKAGE) is None:
            raise UnsupportedGraphError("the package scorewire-kernel is not installed")
        import scorewire_kernel  # noqa: PLC0415 - not installed everywhere

        self._shape = (len(output.constants), columns)
        try:
            self._trees = scorewire_kernel.Contributions(
                graph, tree_terms(output), columns, len(output.constants)
            )
        except scorewire_kernel.UnsupportedError as error:
            raise UnsupportedGraphError(str(error)) from None

    @property
    def base(self) -> Sequence[float]:
        """For each margin, the expected sum of the trees."""
        return self._trees.base

    @property
    def description(self) -> str:
        """How contributions are computed, for people."""
        return self._trees.description

    def run(
        self, row_count: int, inputs: Sequence[NDArray[np.floating]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums of the trees [rows, margins], and the contributions [rows, margins, columns].

        Raises:
            TimeoutError: the run was stopped at the time of `run_until`.
        """
        count, columns = self._shape
        margins, values = np.zeros((row_count, count)), np.zeros((row_count, count, columns))
        if not inputs:
            return margins, values
        for begin in range(0, row_count, _BLOCK_ROWS):
            left = seconds_left()
            if left is not None and left <= 0:
                raise TimeoutError("the run took too long and was stopped")
            rows = slice(begin, begin + _BLOCK_ROWS)
            block = [np.ascontiguousarray(each[rows]) for each in inputs]
            margins[rows], values[rows] = self._trees.run(block)
        return margins, values
