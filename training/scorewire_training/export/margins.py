"""Margins: the numbers that an output is a function of, and what explanations are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.links import LINKS, both_classes

_Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Margin:
    """The margins of an output: `scale` times a tensor plus `offset`.

    Attributes:
        tensor: the tensor in the graph, [rows, width], float or double.
        width: the number of margins.
        link: the name of the function from margins to the output, for people and clients.
        to_output: the function: takes margins [rows, width], returns the output's numbers
            [rows, the output's width].
        scale: a factor.
        offset: an addend.
    """

    tensor: str
    width: int
    link: str
    to_output: Callable[[_Numbers], _Numbers]
    scale: float = 1.0
    offset: float = 0.0

    def scaled(self, scale: float, offset: float) -> Margin:
        """Other margins, which are these times `scale` plus `offset`, with the same function after them."""
        return replace(self, scale=self.scale * scale, offset=self.offset * scale + offset)

    def through(self, link: str, to_output: Callable[[_Numbers], _Numbers]) -> Margin:
        """The same margins with another function after them."""
        return replace(self, link=link, to_output=to_output)


def margin_of(
    tensor: str, width: int, link: str = "identity", *, scale: float = 1.0, pairs: bool = False
) -> Margin:
    """Margins with one of the functions of `LINKS`.

    With `pairs` there is one margin, whose function is the probability of the second of
    two classes, and the output has both probabilities.
    """
    function = LINKS[link]
    return Margin(
        tensor=tensor,
        width=width,
        link=link,
        to_output=(lambda margins: both_classes(function(margins))) if pairs else function,
        scale=scale,
    )
