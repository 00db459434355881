"""Links: the functions from the margins of an output to the output, by name.

A bundle may name other links, which only people read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Numbers: TypeAlias = NDArray[np.float64]
# Gives numbers [rows, margins] for margins [rows, margins].
Link: TypeAlias = Callable[[_Numbers], _Numbers]


def sigmoid(margins: _Numbers) -> _Numbers:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -margins)))


def both_classes(shares: _Numbers) -> _Numbers:
    """The probabilities of two classes, [rows, 2], from those of the second class, [rows, 1]."""
    return np.concatenate([1.0 - shares, shares], axis=1)


def _softmax(margins: _Numbers) -> _Numbers:
    shares = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


LINKS: Mapping[str, Link] = {
    "identity": lambda margins: margins,
    "sigmoid": sigmoid,
    "softmax": _softmax,
    "exp": np.exp,
    "softplus": lambda margins: np.logaddexp(0.0, margins),
    "signed_square": lambda margins: margins * np.abs(margins),
    "step": lambda margins: np.asarray(margins > 0, np.float64),
}
