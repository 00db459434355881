from collections.abc import Mapping, Sequence
from typing import Any

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
