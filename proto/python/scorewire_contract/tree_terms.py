"""The terms of trees of an explanation, as the kernel takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.bundle.v1 import manifest_pb2


class TreeTerm(TypedDict):
    """A sum of trees; `scorewire.bundle.v1.TreeTerm` explains the fields."""

    ensemble: str
    features: Sequence[int]
    node_covers: NDArray[np.float64]
    leaf_covers: NDArray[np.float64]
    scale: float
    first_margin: int


def tree_terms(output: manifest_pb2.ExplainedOutput) -> list[TreeTerm]:
    """The terms of trees of an output."""
    return [
        {
            "ensemble": term.ensemble,
            "features": list(term.features),
            "node_covers": np.array(term.node_covers),
            "leaf_covers": np.array(term.leaf_covers),
            "scale": term.scale,
            "first_margin": term.first_margin,
        }
        for term in output.trees
    ]
