"""The inputs that the fitted model accepts, found by scoring rows with it.

Where the model raises on a missing value, a text or a large number, the bundle
answers such a row with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.double_order import from_ordinals, midpoints, to_ordinals
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.frames import Features, FrameCodec, WireRows
from scorewire_training.export.parity.fitted_model import FittedModel
from scorewire_training.export.parity.hard_rows import UNSEEN_TEXTS

# The largest double that rounds to a finite float32. From halfway to the next float32
# that would follow on, a double rounds to infinity.
FLOAT32_LIMIT = float(np.nextafter(2.0**128 - 2.0**103, 0.0))
FLOAT64_LIMIT = float(np.finfo(np.float64).max)
# The most cells that are scored at once.
_MAX_CELLS = 4_000_000
# How far beyond the sample rows may be: farther away, rounding makes neighbours equally near.
_FAR = 1_000.0
# If this many sampled features refuse a magnitude, all features are taken to refuse it.
_FEW = 64
# The bisection of a limit for all features ignores these last bits: where sums overflow differs by row.
_LIMIT_BITS = 50
_LOW, _HIGH = -1, 1

# Builds rows whose numbers are at the lower or upper limits.
_Build: TypeAlias = "Callable[[NDArray[np.float64], NDArray[np.float64]], WireRows]"


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The values of one feature that the model accepts.

    Attributes:
        missing: whether the value may be missing.
        unknown: whether texts that the model does not know are scored.
        low: the smallest number.
        high: the largest number.
    """

    missing: bool
    unknown: bool = False
    low: float = -np.inf
    high: float = np.inf


class InputLimitSearch:
    """Searches the input limits of many features at once, in rows with one unusual value each.

    Args:
        fitted_model: the fitted model.
        codec: converts rows to frames.
        features: name and kind of each feature, in order.
        sample: rows that the model accepts.
    """

    def __init__(
        self, fitted_model: FittedModel, codec: FrameCodec, features: Features, sample: WireRows
    ) -> None:
        self._fitted_model = fitted_model
        self._codec = codec
        self._numbers = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_NUMBER]
        self._texts = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_TEXT]
        missing = np.isnan(sample.numbers).sum(axis=1) + (sample.texts == "").sum(axis=1)
        self._plain = sample.take([int(np.argmin(missing))])
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(sample.numbers)
            self._beyond_sample = 2 * np.where(finite, np.abs(sample.numbers), 0.0).max(axis=0) + 1
        none = ~finite.any(axis=0)
        # For each side, the number of the sample that is farthest to that side.
        self._seen = {
            _LOW: np.where(none, 0.0, np.where(finite, sample.numbers, np.inf).min(axis=0)),
            _HIGH: np.where(none, 0.0, np.where(finite, sample.numbers, -np.inf).max(axis=0)),
        }

    def find(
        self,
        known_texts: Mapping[str, Sequence[str]],
        domains: Mapping[str, tuple[float, float]] | None = None,
        *,
        only_near: bool = False,
    ) -> dict[str, InputLimits]:
        """Find the input limits of every feature.

        Args:
            known_texts: the texts that the model knows, by text feature.
            domains: the smallest and the largest number for which the model's steps
                give finite numbers, by number feature.
            only_near: whether to refuse numbers far beyond those of the sample.

        Raises:
            UnsupportedModelError: the model refuses ordinary numbers of a feature, or
                unknown texts of a feature without a vocabulary.
        """
        input_limits = {}
        every = np.arange(len(self._numbers))
        missing = self._takes_numbers(every, np.full(len(every), np.nan))
        lows, highs = self._find_ranges(domains or {}, missing)
        if only_near:
            far = _FAR * self._beyond_sample
            lows, highs = np.maximum(lows, -far), np.minimum(highs, far)
        for name, may_miss, low, high in zip(self._numbers, missing, lows, highs, strict=True):
            input_limits[name] = InputLimits(bool(may_miss), low=float(low), high=float(high))
        unseen = [_unseen(known_texts.get(name, ())) for name in self._texts]
        may_miss_text, unknown = self._takes_texts([""] * len(unseen)), self._takes_texts(unseen)
        for name, takes_missing, takes_unknown in zip(self._texts, may_miss_text, unknown, strict=True):
            if not takes_unknown and not known_texts.get(name, ()):
                raise UnsupportedModelError(
                    f"the model refuses some texts of {name!r}, and which ones cannot be told",
                    "let its encoder take unknown texts, as handle_unknown='ignore' does",
                )
            input_limits[name] = InputLimits(bool(takes_missing), unknown=bool(takes_unknown))
        return input_limits

    def _find_ranges(
        self, domains: Mapping[str, tuple[float, float]], missing: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smallest and the largest accepted number of each feature, first alone and then together."""
        lows, highs = (self._find_limits(side, domains) for side in (_LOW, _HIGH))
        # A model of categories refuses numbers between those of training.
        within = self._seen[_LOW] + (self._seen[_HIGH] - self._seen[_LOW]) / 7
        odd = ~self._takes_numbers(np.arange(len(self._numbers)), within) | (lows == highs)
        for column in np.flatnonzero(odd):
            raise self._refuses_ordinary(int(column), within[column])
        lows, highs = self._draw_together(lows, highs, self._full_rows)
        if not missing.any():
            return lows, highs
        return self._draw_together(lows, highs, partial(self._lone_rows, missing))

    def _find_limits(self, side: int, domains: Mapping[str, tuple[float, float]]) -> NDArray[np.float64]:
        """The accepted number farthest to a side, for each feature."""
        limits = self._ends_of_domains(side, domains)
        beyond = side * self._beyond_sample
        for bound in (
            side * np.inf,
            side * FLOAT64_LIMIT,
            side * FLOAT32_LIMIT,
            beyond,
            self._seen[side],
        ):
            open_ = np.flatnonzero(np.isnan(limits))
            values = np.broadcast_to(bound, len(self._numbers))[open_]
            few = open_[:: max(1, len(open_) // _FEW)]
            # Each refusal takes extra calls. A limit that is too low refuses rows but never scores one wrong.
            spare = np.ndim(bound) == 0 and len(few) < len(open_)
            if spare and not self._takes_numbers(few, np.full(len(few), bound)).any():
                continue
            taken = self._takes_numbers(open_, values)
            limits[open_[taken]] = values[taken]
        for column in np.flatnonzero(np.isnan(limits)):
            raise self._refuses_ordinary(int(column), self._seen[side][column])
        inner = np.flatnonzero(np.abs(limits) < FLOAT64_LIMIT)
        blurred = inner[~self._refuses_numbers(inner, np.nextafter(limits[inner], side * np.inf))]
        if len(blurred) > _FEW:
            # For many features, an exact limit so far out is not worth the calls.
            blurred = blurred[np.abs(limits[blurred]) < FLOAT32_LIMIT]
        found = self._bisect(blurred, limits[blurred], side)
        # So far out, the model raises because a sum or product of features overflows, and in
        # another row it may overflow earlier. A limit for all rows is well below this one.
        is_far = side * found > FLOAT32_LIMIT
        near = side * np.sqrt(np.where(is_far, side * found, 0.0))
        far = np.where(side * limits[blurred] > side * near, limits[blurred], near)
        limits[blurred] = np.where(is_far, far, found)
        return limits

    def _ends_of_domains(self, side: int, domains: Mapping[str, tuple[float, float]]) -> NDArray[np.float64]:
        """The end of each domain if the model refuses the next number beyond it, else NaN."""
        limits = np.full(len(self._numbers), np.nan)
        ends = np.array([domains.get(name, (-np.inf, np.inf))[side > 0] for name in self._numbers])
        ended = np.flatnonzero(np.abs(ends) <= FLOAT32_LIMIT)
        refused = ended[self._refuses_numbers(ended, np.nextafter(ends[ended], side * np.inf))]
        for column in refused[side * self._seen[side][refused] > side * ends[refused]]:
            beyond = np.nextafter(ends[column], side * np.inf)
            raise UnsupportedModelError(
                f"the model refuses the number {beyond:g} of {self._numbers[column]!r}, and takes smaller and"
                " larger ones",
                "cut the column to what its function is made for, before the model is fitted",
            )
        limits[refused] = ends[refused]
        return limits

    def _refuses_ordinary(self, column: int, value: float) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"the model refuses ordinary numbers of {self._numbers[column]!r}, such as {value:g}",
            "let its steps take every number: handle_unknown='ignore' in a OneHotEncoder,"
            " handle_unknown='use_encoded_value' in an OrdinalEncoder",
        )

    def _bisect(
        self, columns: NDArray[np.intp], taken: NDArray[np.float64], side: int
    ) -> NDArray[np.float64]:
        """The accepted numbers farthest to a side, by bisection up to the largest double."""
        inner = to_ordinals(taken)
        outer = to_ordinals(np.full(len(taken), side * FLOAT64_LIMIT))
        while len(columns) and np.any(np.abs(outer - inner) > 1):
            between = midpoints(inner, outer)
            takes = self._takes_numbers(columns, from_ordinals(between))
            done = np.abs(outer - inner) <= 1
            inner, outer = np.where(takes & ~done, between, inner), np.where(takes | done, outer, between)
        return from_ordinals(inner)

    def _draw_together(
        self, lows: NDArray[np.float64], highs: NDArray[np.float64], build: _Build
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Tighten the limits until the model accepts rows that are at all of them: sums may overflow."""

        def takes(most: float) -> bool:
            return not self._refused(build(np.maximum(lows, -most), np.minimum(highs, most))).any()

        if not len(lows) or takes(FLOAT64_LIMIT):
            return lows, highs
        least = self._beyond_sample.max()
        if not takes(least):
            # The model refuses even small numbers here, so the limits are not the reason.
            return lows, highs
        low, high = (int(np.float64(value).view(np.int64)) for value in (least, FLOAT64_LIMIT))
        while high - low > 1 << _LIMIT_BITS:
            between = (low + high) // 2
            if takes(float(np.int64(between).view(np.float64))):
                low = between
            else:
                high = between
        most = np.int64(low).view(np.float64)
        return np.maximum(lows, -most), np.minimum(highs, most)

    def _full_rows(self, lows: NDArray[np.float64], highs: NDArray[np.float64]) -> WireRows:
        """Rows in which every number is at its lower or upper limit."""
        sides = np.ones((4, len(lows)))
        sides[1], sides[2, ::2], sides[3, 1::2] = -1.0, -1.0, -1.0
        rows = self._plain.take([0] * len(sides))
        rows.numbers[:] = np.where(sides > 0, highs, lows)
        return rows

    def _lone_rows(
        self, missing: NDArray[np.bool_], lows: NDArray[np.float64], highs: NDArray[np.float64]
    ) -> WireRows:
        """Rows with one number at a limit, for a few features, and all other values missing if allowed.

        A model may fill a missing value from another number, and refuse only the result.
        """
        few = np.arange(0, len(lows), max(1, len(lows) // _FEW))
        rows = self._plain.take([0] * (2 * len(few)))
        rows.numbers[:, missing] = np.nan
        rows.numbers[np.arange(len(rows)), np.tile(few, 2)] = np.concatenate([lows[few], highs[few]])
        return rows

    def _refuses_numbers(self, columns: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The opposite of `_takes_numbers`; if all of a few features are refused, all count as refused."""
        few = slice(None, None, max(1, len(columns) // _FEW))
        if not self._takes_numbers(columns[few], values[few]).any():
            return np.ones(len(columns), dtype=np.bool_)
        return ~self._takes_numbers(columns, values)

    def _takes_numbers(self, columns: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the model accepts a plain row with one changed column, for each of some columns."""
        takes = np.empty(len(columns), dtype=np.bool_)
        step = max(1, _MAX_CELLS // max(1, len(self._numbers) + len(self._texts)))
        for begin in range(0, len(columns), step):
            part = slice(begin, begin + step)
            rows = self._plain.take([0] * len(columns[part]))
            rows.numbers[np.arange(len(rows)), columns[part]] = values[part]
            takes[part] = ~self._refused(rows)
        return takes

    def _takes_texts(self, values: Sequence[str]) -> NDArray[np.bool_]:
        rows = self._plain.take([0] * len(values))
        for column, value in enumerate(values):
            rows.texts[column, column] = value
        return ~self._refused(rows)

    def _refused(self, rows: WireRows) -> NDArray[np.bool_]:
        if not len(rows):
            return np.zeros(0, dtype=np.bool_)
        return self._fitted_model.score_or_refuse(self._codec.to_frame(rows)).refused


def _unseen(known: Sequence[str]) -> str:
    """A text that is not among the known texts."""
    return next(text for text in (*UNSEEN_TEXTS, "".join(known) + "?") if text not in known)
