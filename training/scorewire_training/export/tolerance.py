"""Tolerances: how much scores may differ from the fitted model's, by default or as a user gives.

Only numbers and probabilities have a tolerance. A class must be the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.graph import ModelOutput

RELATIVE = 5e-6
# The largest relative tolerance: a larger difference is not rounding but another model.
MOST = 1e-3


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A score may differ from the fitted model's score s by `absolute` + `relative` x |s|.

    `absolute` is in units of the output. None takes `relative` itself for
    probabilities, and for numbers `relative` times the standard deviation of the
    scores over the sample.

    Raises:
        ExportError: a part is negative or not a number, or `relative` is over 0.001.
    """

    relative: float = RELATIVE
    absolute: float | None = None

    def __post_init__(self) -> None:
        """Check both parts."""
        if not 0 <= self.relative <= MOST:
            raise ExportError(
                f"a relative tolerance of {self.relative:g} is not from 0 to {MOST:g}: scores that differ by "
                "more than that are wrong, not rounded"
            )
        if self.absolute is not None and not 0 <= self.absolute < math.inf:
            raise ExportError(f"an absolute tolerance of {self.absolute:g} is not a finite number from 0 up")

    def __str__(self) -> str:
        """The tolerance as the command line takes it."""
        parts = [self.relative] if self.absolute is None else [self.relative, self.absolute]
        return ",".join(f"{part:g}" for part in parts)

    def to_message(self, absolute: float) -> manifest_pb2.Tolerance:
        """The message for a bundle; `absolute` is used if the user gave no absolute part."""
        own = absolute if self.absolute is None else self.absolute
        return manifest_pb2.Tolerance(relative=self.relative, absolute=own)


# One tolerance for all outputs of numbers and probabilities, or tolerances by output.
Tolerances: TypeAlias = "Tolerance | Mapping[str, Tolerance] | None"


def choose_tolerances(given: Tolerances, outputs: Sequence[tuple[str, int]]) -> dict[str, Tolerance]:
    """The user's tolerances by output.

    Args:
        given: the tolerances as the user gave them.
        outputs: name and kind (schema_pb2.OutputKind) of each output.

    Raises:
        ExportError: a tolerance is given for a class, a text or an unknown output.
    """
    tolerant = [
        name
        for name, kind in outputs
        if kind in (schema_pb2.OUTPUT_KIND_NUMBER, schema_pb2.OUTPUT_KIND_PROBABILITY)
    ]
    if given is None:
        return {}
    if isinstance(given, Tolerance):
        return dict.fromkeys(tolerant, given)
    for name in given:
        if name not in dict(outputs):
            raise ExportError(
                f"a tolerance is given for {name!r}, which is not an output: {', '.join(dict(outputs))}"
            )
        if name not in tolerant:
            raise ExportError(
                f"a tolerance is given for {name!r}, whose values must be equal: only numbers and "
                "probabilities have a tolerance"
            )
    return dict(given)


def resolve_tolerance(
    tolerance: Tolerance | None, output: ModelOutput, scores: NDArray[np.float64]
) -> list[manifest_pb2.Tolerance]:
    """The tolerance of each column of an output, with its absolute part resolved.

    Args:
        tolerance: the user's tolerance for the output; None takes the default.
        output: an output of numbers or probabilities.
        scores: the fitted model's scores over the sample, [rows, width].

    Raises:
        ExportError: the absolute part is over 0.001 of the scores' standard deviation.
    """
    own = tolerance or Tolerance()
    is_number = output.kind == schema_pb2.OUTPUT_KIND_NUMBER
    scales = [deviation(scores[:, column]) if is_number else 1.0 for column in range(output.width)]
    largest = max(scales) or float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0))
    if own.absolute is not None and own.absolute > MOST * largest:
        raise ExportError(
            f"an absolute tolerance of {own.absolute:g} for {output.name!r} is over {MOST * largest:g}, a "
            "thousandth of the spread of its scores over the sample: a wrong model would pass"
        )
    return [own.to_message(own.relative * scale) for scale in scales]


def widened(tolerance: Tolerance | None, share: float) -> Tolerance | None:
    """The smallest two-digit tolerance that allows `share` times as much; None if none may."""
    if not math.isfinite(share):
        return None
    own = tolerance or Tolerance()
    relative = _round_up(own.relative * share)
    absolute = None if own.absolute is None else _round_up(own.absolute * share)
    return Tolerance(relative, absolute) if relative <= MOST else None


def how_to_allow(shares: Mapping[str, float], tolerances: Mapping[str, Tolerance]) -> str:
    """A sentence that tells which tolerance allows the differences; "" where none may.

    Args:
        shares: for each output that differs, its largest difference divided by its tolerance.
        tolerances: the user's tolerances, by output.
    """
    needed = {name: widened(tolerances.get(name), share) for name, share in shares.items()}
    if not needed or None in needed.values():
        return ""
    by_name = ", ".join(f'"{name}": {tolerance!r}' for name, tolerance in needed.items())
    options = " ".join(f"--tolerance {name}={tolerance}" for name, tolerance in needed.items())
    return (
        f"If {max(shares.values()):.3g} times the tolerance is acceptable rounding, allow it with "
        f"tolerance={{{by_name}}}, or {options} on the command line: the bundle records the tolerance."
    )


def difference_of(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Absolute differences, 0 where both are equal; may be NaN or infinite."""
    with np.errstate(all="ignore"):
        return np.where(found == wanted, 0.0, np.abs(found - wanted))


def share_of(
    found: NDArray[np.floating], wanted: NDArray[np.floating], tolerance: manifest_pb2.Tolerance
) -> NDArray[np.float64]:
    """Differences divided by the tolerance, 0 where both are equal; may be NaN or infinite."""
    with np.errstate(all="ignore"):
        limit = tolerance.absolute + tolerance.relative * np.abs(wanted)
        return np.asarray(difference_of(found, wanted) / limit)


def deviation(values: NDArray[np.float64]) -> float:
    """The standard deviation of the finite values."""
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    # Scaled first: squares of large numbers would overflow, and every difference would be tolerated.
    return largest * float((finite / largest).std()) if largest else 0.0


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = math.ceil(value / unit)
    return float(f"{digits}e{round(math.log10(unit))}")
