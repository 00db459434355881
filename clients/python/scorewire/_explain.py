"""What of the predictions a caller wants explained."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from scorewire_proto.v1 import prediction_pb2

# The largest number that the wire takes.
_MAX_TOP_K = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """What of each prediction to explain: which columns, and of which output.

    Attributes:
        top_k: for each row and margin, how many columns: those whose contributions have the largest
            magnitudes. 0 for all columns.
        output: the output's name; "" for the first one that the version can explain.

    Raises:
        ValueError: `top_k` is not an integer of 0 to 2^32 - 1, or `output` is not a valid text.
    """

    top_k: int = 0
    output: str = ""

    def __post_init__(self) -> None:
        if not (_is_integer(self.top_k) and 0 <= self.top_k <= _MAX_TOP_K):
            raise ValueError(f"top_k is an integer of 0 to {_MAX_TOP_K}, not {self.top_k!r}")
        if not isinstance(self.output, str):
            raise ValueError(f"output is the name of an output, not {self.output!r}")
        try:
            self.output.encode()
        except UnicodeEncodeError:
            raise ValueError("output is not valid Unicode") from None


# What the methods take as `explain`: False for nothing, True for all columns, or how many of the strongest.
Explaining: TypeAlias = "bool | int | Explain"


def explain_message(explain: Explaining) -> prediction_pb2.Explain | None:
    """The message that asks for explanations; None if none are wanted.

    Raises:
        ValueError: it is neither a bool, nor an integer of at least 1, nor an `Explain`.
    """
    if explain is False:  # nearly always
        return None
    if isinstance(explain, bool | np.bool_):
        return prediction_pb2.Explain() if explain else None
    if isinstance(explain, Explain):
        return prediction_pb2.Explain(top_k=int(explain.top_k), output=explain.output)
    if _is_integer(explain) and 1 <= explain <= _MAX_TOP_K:
        return prediction_pb2.Explain(top_k=int(explain))
    raise ValueError(
        f"explain is True, False, an Explain, or a number of columns of 1 to {_MAX_TOP_K}, not {explain!r}"
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
