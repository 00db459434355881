"""Contributions of trees, computed by the extension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import scorewire_native
from scorewire_contract.tree_terms import tree_terms
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_server.engine.runs_on import UnsupportedGraphError


class NativeContributions:
    """`TreeContributions` for Python, and `native` for the extension."""

    def __init__(self, native: scorewire_native.Contributions, columns: int) -> None:
        self.native = native
        self._columns = columns

    @property
    def base(self) -> Sequence[float]:
        """For each margin, the expected sum of the trees."""
        return self.native.base

    @property
    def description(self) -> str:
        """How contributions are computed, for people."""
        return self.native.description

    def run(
        self, row_count: int, inputs: Sequence[NDArray[np.floating]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums of the trees [rows, margins], and the contributions [rows, margins, columns]."""
        margins, values = self.native.run(row_count, [np.ascontiguousarray(each) for each in inputs])
        shape = (row_count, len(self.base))
        return (
            np.frombuffer(margins, np.float64).reshape(shape),
            np.frombuffer(values, np.float64).reshape(*shape, self._columns),
        )


def open_trees(graph: bytes, output: manifest_pb2.ExplainedOutput, columns: int) -> NativeContributions:
    """Make the trees of an output.

    Args:
        graph: the bundle's graph, which was audited.
        output: how the output is explained.
        columns: the number of the caller's columns.

    Raises:
        UnsupportedGraphError: there are no contributions of these trees.
    """
    try:
        native = scorewire_native.Contributions(graph, tree_terms(output), columns, len(output.constants))
    except scorewire_native.UnsupportedError as error:
        raise UnsupportedGraphError(str(error)) from None
    return NativeContributions(native, columns)
