"""Explains predictions: what each of the caller's columns contributes to the margins of an output.

An output is a function, the link, of one or more margins. For each margin, the base
and the contributions of all columns add up to the margin. A second graph of the
bundle turns rows into what its trees read, and into the contributions of linear
terms; from the former, the kernel computes the contributions of the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.coding import RowCoder
from scorewire_contract.scoring import RunGraph
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_server.engine.runs_on import UnsupportedGraphError
from scorewire_server.errors import InvalidRequestError, NotExplainedError, clip, invalid_field

# Bytes in an answer: of a margin or a contribution, and of the place and the name of a column.
_DOUBLE, _PLACE, _NAME = 8, 2, 4
# The most bytes of contributions that are computed at once.
_BLOCK_BYTES = 1 << 20
# Why a version explains nothing.
_NO_EXPLANATION = "its bundle was exported without explanations: export the model anew"


class Explain(NamedTuple):
    """What a caller wants to be explained.

    Attributes:
        top_k: columns for each row and margin; 0 for all.
        output: the output's name; "" for the first one that can be explained.
    """

    top_k: int
    output: str


class TreeContributions(Protocol):
    """The trees of an explained output."""

    @property
    def base(self) -> Sequence[float]:
        """For each margin, the expected sum of the trees."""
        ...

    @property
    def description(self) -> str:
        """How contributions are computed, for people."""
        ...

    def run(
        self, row_count: int, inputs: Sequence[NDArray[np.floating]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums of the trees [rows, margins], and the contributions [rows, margins, columns].

        Args:
            row_count: the number of rows.
            inputs: what the trees of each term read, [rows, width].

        Raises:
            TimeoutError: the run was stopped at the time of `run_until`.
        """
        ...


# Makes the trees of an output from the graph of a bundle, the output's terms and the number of columns.
# Raises UnsupportedGraphError.
OpenTrees: TypeAlias = Callable[[bytes, manifest_pb2.ExplainedOutput, int], TreeContributions]


def refuse_trees(reason: str) -> OpenTrees:
    """A function that makes no trees, for this reason."""

    def open_trees(
        graph: bytes,  # noqa: ARG001 - as of OpenTrees
        output: manifest_pb2.ExplainedOutput,  # noqa: ARG001
        columns: int,  # noqa: ARG001
    ) -> TreeContributions:
        raise UnsupportedGraphError(reason)

    return open_trees


class Explained(NamedTuple):
    """The margins of rows and the contributions of columns; NaN for a row with an error.

    Attributes:
        explainer: what computed them.
        margins: [rows, margins].
        values: [rows, margins, columns]: of all, in schema order; or of those in `chosen`.
        chosen: for each of `values` its column, the strongest first; None where all columns are wanted. A
            row with an error has the first columns.
        ns: nanoseconds that it took.
    """

    explainer: Explainer
    margins: NDArray[np.float64]
    values: NDArray[np.float64]
    chosen: NDArray[np.intp] | None
    ns: int


def strongest(values: NDArray[np.float64], top_k: int) -> NDArray[np.intp]:
    """The columns, the last axis, with the largest magnitudes, largest first; of equal ones the first.

    NaN has no magnitude.
    """
    magnitudes = np.abs(values)
    magnitudes[np.isnan(magnitudes)] = 0
    return np.argsort(-magnitudes, axis=-1, kind="stable")[..., :top_k]


@dataclass(frozen=True, slots=True, eq=False)
class Explainer:
    """Explains one output of a version; as safe to share between threads as `graph` is.

    Attributes:
        told: how the output is explained, from the bundle.
        columns: the names of the caller's columns, in schema order.
        coder: codes rows into the inputs of the graph.
        graph: runs the bundle's second graph.
        trees: the output's trees.
        row_ns: nanoseconds that one more row costs, measured when the version was loaded.
        base: the expected value of each margin.
    """

    told: manifest_pb2.ExplainedOutput
    columns: tuple[str, ...]
    coder: RowCoder
    graph: RunGraph
    trees: TreeContributions
    row_ns: float = 0.0
    base: tuple[float, ...] = field(init=False)
    _name_bytes: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pairs = zip(self.told.constants, self.trees.base, strict=True)
        object.__setattr__(self, "base", tuple(constant + expected for constant, expected in pairs))
        names = sum(len(column.encode()) + _NAME for column in self.columns)
        object.__setattr__(self, "_name_bytes", names)

    @property
    def output(self) -> str:
        """The output's name in the schema."""
        return self.told.output

    def expected_bytes(self, row_count: int, top_k: int) -> int:
        """About how many bytes the contributions of so many rows take in an answer."""
        columns = len(self.columns)
        each = min(top_k, columns) * (_DOUBLE + _PLACE) if top_k else columns * _DOUBLE
        return row_count * len(self.base) * (_DOUBLE + each) + self._name_bytes

    def explain(
        self, row_count: int, numbers: NDArray[np.float64], texts: Sequence[str], top_k: int = 0
    ) -> Explained:
        """Explain rows, given as `Scorer.score` takes them.

        Args:
            row_count: number of rows.
            numbers: their numbers.
            texts: their texts.
            top_k: columns for each row and margin; 0 for all.

        Raises:
            TimeoutError: the run was stopped at the time of `run_until`.
            ValueError: an output of the graph does not have the shape that the bundle says.
        """
        begin = perf_counter_ns()
        columns = len(self.columns)
        count = min(top_k, columns) if top_k else columns
        margins = np.full((row_count, len(self.base)), np.nan)
        values = np.full((row_count, len(self.base), count), np.nan)
        chosen = np.broadcast_to(np.arange(count), values.shape).copy() if top_k else None
        coded = self.coder.code(row_count, numbers, texts)
        kept = np.arange(row_count) if coded.kept is None else coded.kept
        outputs = self._run(coded.feeds) if len(kept) else {}
        # Of all columns there may be far more contributions than the answer has.
        block = max(1, _BLOCK_BYTES // (_DOUBLE * columns * len(self.base)))
        for first in range(0, len(kept), block):
            places = kept[first : first + block]
            margins[places], found = self._add_up(outputs, slice(first, first + block), len(places))
            if chosen is not None:
                chosen[places] = strongest(found, count)
                found = np.take_along_axis(found, chosen[places], axis=-1)
            values[places] = found
        return Explained(self, margins, values, chosen, perf_counter_ns() - begin)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs of the graph by name; several terms may read the same."""
        trees = (term.input for term in self.told.trees)
        names = list(dict.fromkeys([*trees, *(term.values for term in self.told.linear)]))
        return dict(zip(names, map(np.asarray, self.graph(names, feeds)), strict=True))

    def _add_up(
        self, outputs: Mapping[str, NDArray[Any]], rows: slice, row_count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The margins and the contributions of all columns, for some of the rows of the outputs."""
        told, count = self.told, len(self.base)
        inputs = [outputs[term.input][rows].reshape(row_count, len(term.features)) for term in told.trees]
        margins, values = self.trees.run(row_count, inputs)
        margins, values = margins + np.array(told.constants), values.copy()
        for term in told.linear:
            parts = outputs[term.values][rows].astype(np.float64, copy=False)
            parts = parts.reshape(row_count, count, len(term.features))
            # One by one, in the order in which the extension adds them.
            for place, feature in enumerate(term.features):
                margins += parts[:, :, place]
                values[:, :, feature] += parts[:, :, place]
        return margins, values


@dataclass(frozen=True, slots=True)
class Explanations:
    """Which outputs of a version can be explained.

    Attributes:
        explainers: by output, in schema order.
        reasons: for each output that cannot be explained, why.
        absent: why there is nothing else to say of an output.
    """

    explainers: Mapping[str, Explainer] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    absent: str = _NO_EXPLANATION

    def find(self, output: str, *, outputs: Sequence[str], model: str, version: str) -> Explainer:
        """The explainer of an output, of the first one that can be explained for "".

        Args:
            output: the name that the caller gives.
            outputs: the outputs of the version.
            model: the model's name, for the error.
            version: the version's name, for the error.

        Raises:
            InvalidRequestError: the version has no such output.
            NotExplainedError: the output cannot be explained.
        """
        found = self.explainers.get(output) if output else next(iter(self.explainers.values()), None)
        if found is not None:
            return found
        if output and output not in outputs:
            raise _no_output(output, outputs)
        named = f"output {clip(output)!r}" if output else "any output"
        reason = self.reasons.get(output) if output else "; ".join(dict.fromkeys(self.reasons.values()))
        if output and not reason and self.explainers:
            reason = f"ask for {' or '.join(map(repr, self.explainers))}"
        raise NotExplainedError(
            f"model {model!r} {version} cannot explain {named}: {reason or self.absent}",
            model=model,
            version=version,
            output=output,
        )


def _no_output(output: str, outputs: Sequence[str]) -> InvalidRequestError:
    return invalid_field(
        "explain.output", f"there is no output {clip(output)!r}; there is {', '.join(outputs)}"
    )
