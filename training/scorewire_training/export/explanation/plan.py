"""What an output's explanation consists of: trees and products, each column with its feature."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_training.export.explanation.affine import as_weighted_sum
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.sources import ColumnSources, Features
from scorewire_training.export.explanation.subgraphs import Subgraph, Tensors
from scorewire_training.export.explanation.tree_nodes import TreeNodes
from scorewire_training.export.graph import Covers, ModelOutput
from scorewire_training.export.margins import Margin

# A cover of 8 bytes is stored for each node and each leaf.
_MOST_NODES = 1 << 22
# Numbers in the matrix of a tensor's products: columns x margins x features.
_MOST_WEIGHTS = 1 << 22
_NAMES_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreePart:
    """The sums of a TreeEnsemble times `scale`; its targets count towards the margins from `first_margin` on.

    `features` has the feature of each column of `input`, and the number of all features
    for a column that no tree reads.
    """

    ensemble: str
    input: str
    features: tuple[int, ...]
    covers: Covers
    scale: float
    first_margin: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearPart:
    """Columns of a tensor times `weights` [columns, margins]; `features` has the feature of each column."""

    tensor: str
    columns: NDArray[np.intp]
    features: NDArray[np.intp]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The margins of an output: `constants`, plus trees, plus products."""

    output: ModelOutput
    margin: Margin
    constants: NDArray[np.float64]
    trees: tuple[TreePart, ...]
    linear: tuple[LinearPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planner:
    """Makes the plans of a model's outputs.

    Attributes:
        subgraph: computes the margins of all outputs.
        tensors: what is known of its tensors.
        sources: which features they are computed from.
        covers: the covers of trees, by their tensor.
        features: the names of the features.
    """

    subgraph: Subgraph
    tensors: Tensors
    sources: ColumnSources
    covers: Mapping[str, Covers]
    features: Sequence[str]

    def plan(self, output: ModelOutput) -> Plan:
        """The plan of an output of numbers or probabilities.

        Raises:
            UnexplainedError: the output has no margins, or a part of them is not one of
                single features.
        """
        margin = output.margin
        if margin is None:
            raise UnexplainedError(output.without_margin)
        found = as_weighted_sum(self.subgraph, self.tensors, margin.tensor, ends=self.covers)
        trees: list[TreePart] = []
        linear: list[LinearPart] = []
        for tensor, weights in found.weights.items():
            if not weights.any():
                continue
            if tensor in self.covers:
                trees += self._trees(tensor, weights * margin.scale)
            else:
                linear.append(self._linear(tensor, weights * margin.scale))
        if not trees and not linear:
            raise UnexplainedError("its margins are the same for all rows")
        constants = found.constants * margin.scale + margin.offset
        return Plan(
            output=output, margin=margin, constants=constants, trees=tuple(trees), linear=tuple(linear)
        )

    def _trees(self, tensor: str, weights: NDArray[np.float64]) -> list[TreePart]:
        node = next(node for node in self.subgraph.nodes if tensor in node.output)
        covers = self.covers[tensor]
        if len(covers.nodes) > _MOST_NODES:
            raise UnexplainedError(
                f"its trees have {len(covers.nodes):,} nodes, and {_MOST_NODES:,} at most are explained"
            )
        features = self._read_features(node)
        return [
            TreePart(
                ensemble=tensor,
                input=node.input[0],
                features=features,
                covers=covers,
                scale=scale,
                first_margin=first,
            )
            for first, scale in diagonals(weights)
        ]

    def _read_features(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """The feature of each column that trees are given."""
        read = set(TreeNodes.read(node).columns_read().tolist())
        sources = self.sources.of(node.input[0])
        return tuple(
            self._only(own, f"column {place} of what the trees read") if place in read else len(self.features)
            for place, own in enumerate(sources)
        )

    def _linear(self, tensor: str, weights: NDArray[np.float64]) -> LinearPart:
        made_by = next((node.op_type for node in self.subgraph.nodes if tensor in node.output), "")
        columns = np.flatnonzero(weights.any(axis=1))
        sources = self.sources.of(tensor)
        if made_by == "TreeEnsemble" and any(len(sources[column]) > 1 for column in columns.tolist()):
            raise UnexplainedError("the model does not tell how many training rows reached each leaf")
        features = [
            self._only(sources[column], f"column {column} of what the linear function reads")
            for column in columns.tolist()
        ]
        distinct = len(set(features))
        if weights[columns].size * distinct > _MOST_WEIGHTS:
            raise UnexplainedError(
                f"it multiplies {len(columns):,} columns of {distinct:,} features, too many to tell apart"
            )
        return LinearPart(
            tensor=tensor, columns=columns, features=np.array(features, np.intp), weights=weights[columns]
        )

    def _only(self, features: Features, what: str) -> int:
        """The single feature of a column."""
        if len(features) == 1:
            return next(iter(features))
        if not features:
            raise UnexplainedError(f"{what} is computed from no feature")
        names = [repr(self.features[feature]) for feature in sorted(features)]
        shown = ", ".join(names[:_NAMES_SHOWN])
        if len(names) > _NAMES_SHOWN:
            told = f"{shown} and {len(names) - _NAMES_SHOWN} more"
        else:
            told = " and ".join([", ".join(names[:-1]), names[-1]])
        raise UnexplainedError(f"{what} is computed from {told} together")


def diagonals(weights: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Weights of targets on margins, [targets, margins], as pairs of a first margin and a scale.

    Target t counts `scale` times towards margin first + t.

    Raises:
        UnexplainedError: the weights are otherwise.
    """
    targets, margins = weights.shape
    rest = weights.copy()
    found = []
    diagonal = np.arange(targets)
    for first in range(margins - targets + 1):
        own = rest[diagonal, diagonal + first]
        if own.any() and (own == own[0]).all():
            found.append((first, float(own[0])))
            rest[diagonal, diagonal + first] = 0.0
    if rest.any():
        raise UnexplainedError("its margins mix the sums of several targets of the same trees")
    return found


def margin_tensors(outputs: Collection[ModelOutput]) -> list[str]:
    """The tensors of the margins of outputs."""
    return list(dict.fromkeys(output.margin.tensor for output in outputs if output.margin is not None))
