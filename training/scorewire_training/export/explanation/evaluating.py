"""Contributions of an explained output, as servers compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_contract.tree_terms import tree_terms
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.explanation.tree_shap import TreeShap
from scorewire_training.export.graph import Covers

_Numbers = NDArray[np.float64]
# NumPy takes tens of seconds for more.
_MOST_PLAIN_LEAVES = 200_000


class OutputExplainer:
    """Computes the margins of an output and the contributions of features to them.

    Args:
        model: model.onnx.
        explained: the output's part of explanation.pb.
        feature_count: the number of features.

    Raises:
        UnexplainedError: the kernel does not compute contributions of these trees.
    """

    def __init__(self, model: bytes, explained: manifest_pb2.ExplainedOutput, feature_count: int) -> None:
        self._explained, self._feature_count = explained, feature_count
        self._trees: _Trees | None = None
        if explained.trees:
            self._trees = _open_trees(model, explained, feature_count)
        self.base = np.array(explained.constants) + (
            0.0 if self._trees is None else np.array(self._trees.base)
        )

    @property
    def inputs(self) -> list[str]:
        """The outputs of explanation.onnx that `run` takes."""
        return [term.input for term in self._explained.trees] + [
            term.values for term in self._explained.linear
        ]

    def run(self, tensors: Mapping[str, NDArray[Any]], row_count: int) -> tuple[_Numbers, _Numbers]:
        """The margins [rows, margins] and the contributions [rows, margins, features].

        Args:
            tensors: outputs of explanation.onnx by name.
            row_count: the number of rows.
        """
        margin_count = len(self._explained.constants)
        margins = np.broadcast_to(np.array(self._explained.constants), (row_count, margin_count)).copy()
        values = np.zeros((row_count, margin_count, self._feature_count))
        if self._trees is not None:
            sums, parts = self._trees.run([tensors[term.input] for term in self._explained.trees])
            margins += sums
            values += parts
        for term in self._explained.linear:
            parts = tensors[term.values].reshape(row_count, margin_count, len(term.features))
            values[:, :, list(term.features)] += parts
            margins += parts.sum(axis=2)
        return margins, values


class _Trees(Protocol):
    @property
    def base(self) -> Sequence[float] | _Numbers: ...

    def run(self, inputs: list[NDArray[Any]]) -> tuple[_Numbers, _Numbers]: ...


def _open_trees(model: bytes, explained: manifest_pb2.ExplainedOutput, feature_count: int) -> _Trees:
    """The trees in the kernel; in NumPy if the kernel is not installed."""
    margin_count = len(explained.constants)
    try:
        import scorewire_kernel  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        leaves = sum(len(term.leaf_covers) for term in explained.trees)
        if leaves > _MOST_PLAIN_LEAVES:
            raise UnexplainedError(
                f"the proof for its {leaves:,} leaves needs the kernel: install scorewire-training[kernel]"
            ) from None
        return _PlainTrees(model, explained.trees, feature_count, margin_count)
    try:
        return scorewire_kernel.Contributions(model, tree_terms(explained), feature_count, margin_count)
    except scorewire_kernel.UnsupportedError as error:
        raise UnexplainedError(f"the kernel does not explain its trees: {error}") from None


class _PlainTrees:
    """The trees in NumPy."""

    def __init__(
        self,
        model: bytes,
        terms: Sequence[manifest_pb2.TreeTerm],
        feature_count: int,
        margin_count: int,
    ) -> None:
        graph = onnx.load_model_from_string(model).graph
        nodes = {name: node for node in graph.node for name in node.output}
        self._shape = margin_count, feature_count
        self.base = np.zeros(margin_count)
        self._terms: list[tuple[TreeShap, slice, float]] = []
        for term in terms:
            covers = Covers(nodes=np.array(term.node_covers), leaves=np.array(term.leaf_covers))
            trees = TreeShap(TreeNodes.read(nodes[term.ensemble]), covers, term.features, feature_count)
            place = slice(term.first_margin, term.first_margin + len(trees.base))
            self.base[place] += term.scale * trees.base
            self._terms.append((trees, place, term.scale))

    def run(self, inputs: list[NDArray[Any]]) -> tuple[_Numbers, _Numbers]:
        margins = np.zeros((len(inputs[0]), self._shape[0]))
        values = np.zeros((len(inputs[0]), *self._shape))
        for (trees, place, scale), x in zip(self._terms, inputs, strict=True):
            sums, parts = trees.run(x)
            margins[:, place] += scale * sums
            values[:, place] += scale * parts
        return margins, values
