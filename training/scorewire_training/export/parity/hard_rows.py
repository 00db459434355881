"""Hard rows: rows made to find differences where conversions of models often go wrong.

Each is a row of the sample with one feature or all features changed. The origin of a
row names how it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.frames import Features, WireRows, concatenate

SAMPLE = "sample"
# The number of sample rows that each value is tried in: only the rows that reach a split
# of a tree test it.
_ROWS_PER_VALUE = 4
# Values that all numbers of a row get at once.
_ALIKE = (0.0, 1.0, 1e-20)
_MAX_THRESHOLDS_PER_FEATURE = 200
_MAX_THRESHOLD_ROWS = 5_000
_MAX_KNOWN_TEXTS_PER_FEATURE = 1_000
_MAX_VARIANT_TEXTS = 8
_MIXED_ROWS = 500
_SNAPPED_ROWS = 4_000
_MAX_SHOWN_TEXT = 30
# The cells of the rows of one kind: the comparison of a wide table must fit into memory.
MAX_CELLS = 10_000_000
_SEED = 20_240_229

UNSEEN_TEXTS = ("no-model-knows-this", "Ünbekannt-Ωμέγα-未知", "0", "nan", "None", " ", "x" * 1_000)
_INTEGERS = (2.0**24 + 1, -(2.0**24) - 1, 2.0**31 + 1, 2.0**53)
_CODES = (-1.0, -0.5, 0.5, 1.5, 1.0, 31.0, 32.0, 255.0, 256.0, 65_536.0)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ComparisonRows:
    """Rows on which the bundle and the fitted model are compared.

    Attributes:
        rows: the rows.
        origins: how each row was made.
        changes: the one feature that was changed and its new value, like "age = nan";
            empty for a row of the sample and for a row with several changes.
    """

    rows: WireRows
    origins: tuple[str, ...]
    changes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.origins)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> ComparisonRows:
        """Some of the rows, in the given order."""
        return ComparisonRows(
            self.rows.take(rows),
            tuple(self.origins[row] for row in rows),
            tuple(self.changes[row] for row in rows),
        )


@dataclass(slots=True)
class _Change:
    row: int
    origin: str
    feature: str
    numbers: Mapping[int, float]
    texts: Mapping[int, str]

    def describe(self) -> str:
        if not self.feature:
            return ""
        value = next(iter((*self.numbers.values(), *self.texts.values())))
        text = repr(value)
        return f"{self.feature} = {text if len(text) <= _MAX_SHOWN_TEXT else text[:_MAX_SHOWN_TEXT] + '...'}"


@dataclass(slots=True)
class _Builder:
    """Collects changes to rows of the sample; the rows are taken in turn unless one is given."""

    base: WireRows
    changes: list[_Change] = field(default_factory=list)

    def add(
        self,
        origin: str,
        feature: str = "",
        *,
        row: int | None = None,
        numbers: Mapping[int, float] | None = None,
        texts: Mapping[int, str] | None = None,
    ) -> None:
        row = len(self.changes) % len(self.base) if row is None else row
        self.changes.append(_Change(row, origin, feature, numbers or {}, texts or {}))

    def build(self) -> ComparisonRows:
        rows = self.base.take([change.row for change in self.changes])
        for i, change in enumerate(self.changes):
            for column, number in change.numbers.items():
                rows.numbers[i, column] = number
            for column, text in change.texts.items():
                rows.texts[i, column] = text
        return ComparisonRows(
            rows,
            tuple(change.origin for change in self.changes),
            tuple(change.describe() for change in self.changes),
        )


def construct_rows(
    sample: WireRows,
    features: Features,
    *,
    thresholds: Mapping[str, NDArray[np.float64]],
    known_texts: Mapping[str, Sequence[str]],
    hard_texts: Mapping[str, Sequence[str]],
    ranges: Mapping[str, tuple[float, float]],
) -> ComparisonRows:
    """The sample followed by the hard rows made from it.

    Args:
        sample: at least one row.
        features: name and kind of each feature, in order.
        thresholds: the numbers that the model compares with, by number feature.
        known_texts: the texts that the model knows, by text feature.
        hard_texts: further texts to try, by text feature.
        ranges: the smallest and the largest number that the model accepts, by number
            feature.
    """
    numbers = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_TEXT]
    rng = np.random.default_rng(_SEED)
    builder = _Builder(sample.take(rng.permutation(len(sample))[:997]))
    hard = [
        list(_hard_numbers(sample.numbers[:, column], *ranges[name])) for column, name in enumerate(numbers)
    ]
    alone, rounds = _alone(hard, len(features))
    for _ in range(rounds):
        _add_missing(builder, numbers, texts, alone)
        for value in _ALIKE if numbers else ():
            builder.add("alike", numbers=dict.fromkeys(range(len(numbers)), value))
        for column in alone:
            for origin, value in hard[column]:
                builder.add(origin, numbers[column], numbers={column: value})
    for column, name in enumerate(texts):
        _add_texts(builder, column, name, sample.texts[:, column], known_texts.get(name, ()))
        for text in hard_texts.get(name, ()):
            builder.add("odd_text", name, texts={column: text})
    parts = [_made(sample, SAMPLE), builder.build()]
    if len(alone) < len(numbers):
        taken = [ranges[name] for name in numbers]
        parts.append(_made(_change_all(builder.base, hard, taken), "changed_together"))
    return join_rows(
        *parts,
        _threshold_rows(sample, numbers, thresholds, rng),
        _made(_recombine(sample, rng), "recombined"),
    )


def _alone(hard: Sequence[Sequence[object]], width: int) -> tuple[Sequence[int], int]:
    """The number features to change one at a time, and how often: all, or some of a wide table."""
    cells = max(1, width * sum(map(len, hard)))
    if rounds := min(_ROWS_PER_VALUE, MAX_CELLS // cells):
        return range(len(hard)), rounds
    return _spread(range(len(hard)), max(1, MAX_CELLS * len(hard) // cells)), 1


def _change_all(
    base: WireRows, hard: Sequence[Sequence[tuple[str, float]]], ranges: Sequence[tuple[float, float]]
) -> WireRows:
    """Rows in which every number has one of its hard values; each value occurs in some row."""
    taken = [
        [value for _, value in values if not (value < low or value > high)]
        for values, (low, high) in zip(hard, ranges, strict=True)
    ]
    count = _ROWS_PER_VALUE * max(map(len, taken))
    rows = base.take(np.arange(count) % len(base))
    for column, values in enumerate(taken):
        rows.numbers[:, column] = np.resize(np.roll(values, column), count)
    return rows


def _made(rows: WireRows, origin: str) -> ComparisonRows:
    """Rows of one origin, with several changed features or with no change."""
    return ComparisonRows(rows, (origin,) * len(rows), ("",) * len(rows))


def join_rows(*parts: ComparisonRows) -> ComparisonRows:
    """The rows of all parts in order."""
    return ComparisonRows(
        concatenate([part.rows for part in parts]),
        tuple(origin for part in parts for origin in part.origins),
        tuple(change for part in parts for change in part.changes),
    )


def _add_missing(
    builder: _Builder, numbers: Sequence[str], texts: Sequence[str], alone: Sequence[int]
) -> None:
    for column in alone:
        builder.add("missing", numbers[column], numbers={column: np.nan})
    for column, name in enumerate(texts):
        builder.add("empty_text", name, texts={column: ""})
    no_numbers = dict.fromkeys(range(len(numbers)), np.nan)
    builder.add("all_missing", numbers=no_numbers, texts=dict.fromkeys(range(len(texts)), ""))
    if numbers and texts:
        builder.add("all_missing", numbers=no_numbers)


def _hard_numbers(column: NDArray[np.float64], low: float, high: float) -> Iterator[tuple[str, float]]:
    """Origins and hard values of a number feature."""
    yield from (("zero", value) for value in (0.0, -0.0))
    yield from (("infinite", value) for value in (np.inf, -np.inf))
    yield from (("huge", value) for value in (1e30, -1e30))
    yield from (("over_float32", value) for value in (1e39, -1e39))
    yield from (("tiny", value) for value in (1e-30, -1e-30, 1e-40, 5e-324))
    yield from (("large_integer", value) for value in _INTEGERS)
    yield from (("category_code", value) for value in _CODES)
    for limit, side in ((low, -np.inf), (high, np.inf)):
        if np.isfinite(limit):
            with np.errstate(over="ignore"):
                values = [limit, np.nextafter(limit, side), 2 * limit]
            yield from (("limit", float(value)) for value in values)
    seen = column[np.isfinite(column)]
    if len(seen):
        least, most = float(seen.min()), float(seen.max())
        middle = float(np.median(seen))
        outside = (most + 1, most + 0.5, least - 1, 2 * abs(most) + 1)
        yield from (("outside_range", value) for value in outside)
        yield from (("decimal", value) for value in (middle + 0.1, middle / 3, least + (most - least) / 7))


def _add_texts(
    builder: _Builder, column: int, name: str, seen: NDArray[np.object_], known: Sequence[str]
) -> None:
    for text in UNSEEN_TEXTS:
        for _ in range(_ROWS_PER_VALUE):
            builder.add("unseen_text", name, texts={column: text})
    present = set(seen)
    for text in _spread(sorted(set(known) - present), _MAX_KNOWN_TEXTS_PER_FEATURE):
        builder.add("known_text", name, texts={column: text})
    for text in _spread(sorted((set(known) | present) - {""}), _MAX_VARIANT_TEXTS):
        for variant in dict.fromkeys([text.upper(), text.lower(), text.swapcase(), f" {text}\t", f"{text}."]):
            if variant != text:
                builder.add("text_variant", name, texts={column: variant})


def _threshold_rows(
    sample: WireRows,
    numbers: Sequence[str],
    thresholds: Mapping[str, NDArray[np.float64]],
    rng: np.random.Generator,
) -> ComparisonRows:
    """Rows at thresholds and one float to either side, feature by feature and all features at once."""
    by_column = {
        column: np.unique(thresholds[name][np.isfinite(thresholds[name])])
        for column, name in enumerate(numbers)
        if name in thresholds
    }
    by_column = {column: values for column, values in by_column.items() if len(values)}
    builder = _Builder(sample)
    if not by_column:
        return builder.build()
    budget = min(_MAX_THRESHOLDS_PER_FEATURE, max(1, _MAX_THRESHOLD_ROWS // (len(by_column) * 6)))
    for column, values in by_column.items():
        chosen = _spread(values.tolist(), budget)
        # The row nearest to a threshold is likely to reach the split there.
        for threshold, row in zip(chosen, _nearest(sample.numbers[:, column], chosen), strict=True):
            for origin, value in steps_around(threshold):
                builder.add(origin, numbers[column], row=int(row), numbers={column: value})
    alone = builder.build()
    together = sample.take(rng.integers(len(sample), size=min(_SNAPPED_ROWS, 2 * len(sample))))
    for column, values in by_column.items():
        together.numbers[:, column] = _snap(together.numbers[:, column], values, rng)
    return join_rows(alone, _made(together, "thresholds_together"))


def _snap(
    column: NDArray[np.float64], thresholds: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Move each number to its nearest threshold, or with probability 1/2 to a neighbouring float of it."""
    count = len(column)
    places = np.where(np.isfinite(column), column, rng.choice(thresholds, count))
    nearest = thresholds[_nearest(thresholds, places)]
    steps = np.column_stack(_neighbouring_floats(nearest))
    neighbours = steps[np.arange(count), rng.integers(steps.shape[1], size=count)]
    return np.where(rng.random(count) < 0.5, nearest, neighbours)


def _nearest(column: NDArray[np.float64], values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.intp]:
    """For each value, the position of the nearest number in the column."""
    order = np.argsort(column)  # NaN last
    finite = int(np.isfinite(column).sum())
    if not finite:
        return np.zeros(len(values), dtype=np.intp)
    ascending = column[order[:finite]]
    right = np.clip(np.searchsorted(ascending, values), 0, finite - 1)
    left = np.maximum(right - 1, 0)
    nearer_left = np.abs(ascending[left] - values) < np.abs(ascending[right] - values)
    return order[np.where(nearer_left, left, right)]


def steps_around(threshold: float) -> Iterator[tuple[str, float]]:
    """The threshold and its neighbours in float64 and float32, with their origins."""
    yield "threshold", threshold
    doubles, singles = _neighbouring_floats(np.array([threshold]))
    yield from (("beside_threshold_float64", value) for value in doubles[0].tolist())
    yield from (("beside_threshold_float32", value) for value in singles[0].tolist() if value != threshold)


def _neighbouring_floats(thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The floats next to thresholds, in float64 and in float32.

    Returns:
        One step down and one up in float64, shape [thresholds, 2], and the threshold
        rounded to float32, one step down and one up from there, shape [thresholds, 3].
    """
    with np.errstate(over="ignore"):
        single = thresholds.astype(np.float32)
        steps = [np.nextafter(single, np.float32(side)) for side in (-np.inf, np.inf)]
        doubles = [np.nextafter(thresholds, side) for side in (-np.inf, np.inf)]
    return np.column_stack(doubles), np.column_stack([single, *steps]).astype(np.float64)


def _recombine(sample: WireRows, rng: np.random.Generator) -> WireRows:
    """Rows whose features each come from a random row of the sample."""
    mixed = sample.take(rng.integers(len(sample), size=_MIXED_ROWS))
    for column in range(mixed.numbers.shape[1]):
        mixed.numbers[:, column] = sample.numbers[rng.integers(len(sample), size=_MIXED_ROWS), column]
    for column in range(mixed.texts.shape[1]):
        mixed.texts[:, column] = sample.texts[rng.integers(len(sample), size=_MIXED_ROWS), column]
    return mixed


def _spread(values: Sequence[_T], count: int) -> Sequence[_T]:
    """At most `count` values, evenly spread over the given order, with both ends."""
    if len(values) <= count:
        return values
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, count)]
