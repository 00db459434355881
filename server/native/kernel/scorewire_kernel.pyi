from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

__version__: str
# The names of the ways to score trees, by which `Program` takes one.
FORMS: tuple[str, ...]

class UnsupportedError(ValueError):
    """A graph does not run here; the message tells why."""

class Program:
    """A graph that is ready to run. Threads may share it.

    Args:
        graph: an ONNX model, serialized.
        form: the way in which all trees are scored, one of `FORMS`; None chooses by measurement, which takes
            some milliseconds.

    Raises:
        UnsupportedError: the graph has an operator, a type or a shape that does not run here, or `form` does
            not take its trees on this processor.
        ValueError: `form` is none of `FORMS`.
    """

    def __new__(cls, graph: bytes, form: str | None = None) -> Program: ...
    @property
    def inputs(self) -> list[tuple[str, int, int]]:
        """Name, ONNX element type and values per row of each input, in the order of the graph."""

    @property
    def outputs(self) -> list[tuple[str, int, int]]:
        """Name, ONNX element type and values per row of each output, in the order of the graph."""

    @property
    def description(self) -> str:
        """What runs the trees, and how many bytes it holds, for people."""

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph over rows. The interpreter is free meanwhile.

        Args:
            names: the outputs to return.
            feeds: each input by name: a C-contiguous array of the input's type, [rows, width].

        Returns:
            An array for each name, [rows, width].

        Raises:
            ValueError: an input is missing or unknown, or has another type or shape; an output is unknown; an
                index that a row gives is out of range.
            MemoryError: there is no memory for the outputs of so many rows.
        """

class Term(TypedDict):
    """A sum of trees: the TreeEnsemble of a node of a model, times a scale."""

    # The name of the node's output.
    ensemble: str
    # For each column of the node's input the caller's column; the number of the caller's columns where no
    # split reads it.
    features: Sequence[int]
    # For each node of the ensemble the weight of the training rows that reached it, in the order of ONNX.
    node_covers: NDArray[np.float64]
    # The same for each leaf.
    leaf_covers: NDArray[np.float64]
    scale: float
    # The margin that the first target counts towards; the next target counts towards the next margin.
    first_margin: int

class Contributions:
    """Contributions of columns to sums of trees: exact Shapley values of path-dependent TreeSHAP.

    The columns are the caller's.

    Threads may share it.

    Args:
        graph: an ONNX model, serialized.
        terms: the trees, and whose their columns are.
        features: the number of the caller's columns.
        margins: the number of sums of a row.

    Raises:
        UnsupportedError: the model cannot be read, or a term is not of its trees.
    """

    def __new__(cls, graph: bytes, terms: Sequence[Term], features: int, margins: int) -> Contributions: ...
    @property
    def base(self) -> list[float]:
        """For each margin what is expected over the covers."""

    @property
    def description(self) -> str:
        """How contributions are made, and how many bytes that holds, for people."""

    @property
    def bytes(self) -> int:
        """The bytes that it holds."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Make the contributions of rows. The interpreter is free meanwhile.

        Args:
            inputs: for each term what its trees read: a C-contiguous array of the trees' type, [rows,
                columns]; float32 also where the trees read float64.

        Returns:
            The margins, [rows, margins], and the contributions, [rows, margins, features]. For each row and
            margin, the base and the contributions add up to the margin.

        Raises:
            ValueError: there are more or fewer inputs than terms, or one has another type or shape.
            MemoryError: there is no memory for the contributions of so many rows.
        """
