"""What runs the graph of a version: a program of the kernel, or onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray


class UnsupportedGraphError(ValueError):
    """Only onnxruntime runs a graph; the message says why, without a full stop."""


KERNEL = "kernel"
ONNXRUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True)
class RunsOn:
    """What runs a graph.

    Attributes:
        name: KERNEL or ONNXRUNTIME.
        details: for people: how the kernel scores the trees, or why onnxruntime runs the graph.
    """

    name: str
    details: str = ""


# Of a version that no one tried to compile.
UNTRIED = RunsOn(ONNXRUNTIME)


class Program(Protocol):
    """A graph that was compiled: runs it, as a `RunGraph` does."""

    def __call__(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:  # noqa: D102
        ...

    @property
    def description(self) -> str:
        """How the graph runs, for people."""
        ...


# Compiles an audited graph, or raises UnsupportedGraphError.
CompileGraph: TypeAlias = Callable[[bytes], Program]


def refuse_programs(reason: str) -> CompileGraph:
    """A function that compiles no graph, for this reason."""

    def compile_graph(graph: bytes) -> Program:  # noqa: ARG001 - as of CompileGraph
        raise UnsupportedGraphError(reason)

    return compile_graph
