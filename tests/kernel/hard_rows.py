"""Random rows that are hard for trees: numbers at splits and beside, and the ends of number formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.frames import Features, WireRows
from scorewire_training.export.parity.hard_rows import UNSEEN_TEXTS
from scorewire_training.export.parity.input_limits import InputLimits

# Zeros, denormals of both formats, what LightGBM reads as zero, the ends of both formats, category codes.
_EXTREMES = (
    *(0.0, 5e-324, 2.2250738585072014e-308, 1e-310, 1.401298464324817e-45, 1e-40, 1.1754943508222875e-38),
    *(1e-36, float(np.float32(1e-35)), float(np.nextafter(np.float32(1e-35), np.float32(1))), 1e-34, 1e-20),
    *(0.5, 1.0, 1.5, 2.0, 31.0, 32.0, 64.0, 255.0, 256.0, 65_536.0, 2.0**24 + 1, 2.0**31, 2.0**53, 1e30),
    *(float(np.finfo(np.float32).max), 2.0**128, 1e300, float(np.finfo(np.float64).max), np.inf),
)
# A row keeps this share of its sample row's values.
_KEPT = 0.4
_MOST_TEXTS = 1_000


def random_hard_rows(
    sample: WireRows,
    features: Features,
    thresholds: Mapping[str, NDArray[np.float64]],
    known_texts: Mapping[str, Sequence[str]],
    limits: Mapping[str, InputLimits],
    *,
    count: int,
    seed: int,
) -> WireRows:
    """Rows of the sample in which most values are replaced by hard ones that the model takes."""
    rng = np.random.default_rng(seed)
    rows = sample.take(rng.integers(len(sample), size=count))
    numbers = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_TEXT]
    for column, name in enumerate(numbers):
        values = _hard_numbers(sample.numbers[:, column], thresholds.get(name, np.zeros(0)), limits[name])
        _replace(rng, rows.numbers[:, column], values)
    for column, name in enumerate(texts):
        known = list(known_texts.get(name, ()))[:_MOST_TEXTS]
        odd = [""] * limits[name].missing + list(UNSEEN_TEXTS) * limits[name].unknown
        _replace(rng, rows.texts[:, column], np.array([*known, *odd] or [""], dtype=object))
    return rows


def _replace(rng: np.random.Generator, column: NDArray[np.generic], values: NDArray[np.generic]) -> None:
    replaced = np.flatnonzero(rng.random(len(column)) >= _KEPT)
    column[replaced] = values[rng.integers(len(values), size=len(replaced))]


def _hard_numbers(
    sample: NDArray[np.float64], thresholds: NDArray[np.float64], limits: InputLimits
) -> NDArray[np.float64]:
    """Numbers within the limits, many of them around thresholds; and NaN where it is taken."""
    extremes = np.array(_EXTREMES)
    extremes = np.concatenate([extremes, -extremes])
    with np.errstate(over="ignore"):
        single = thresholds.astype(np.float32)
    near = [np.float64(thresholds)]
    near += [np.nextafter(thresholds, side) for side in (-np.inf, np.inf)]
    near += [np.nextafter(single, np.float32(side)).astype(np.float64) for side in (-np.inf, np.inf)]
    near.append(single.astype(np.float64))
    # The doubles in the middle between two floats are rounded to the even one.
    near += [(np.float64(single) + other) / 2 for other in near[3:5]]
    around = np.concatenate(near)
    finite = sample[np.isfinite(sample)]
    between = np.concatenate([np.nextafter(finite, np.inf), finite + 0.5, -finite]) if len(finite) else finite
    values = np.concatenate([extremes, between[:500], around])
    values = values[(values >= limits.low) & (values <= limits.high)]
    missing = np.full(max(1, len(values) // 20), np.nan) if limits.missing else np.zeros(0)
    return np.concatenate([values, missing])
