"""What the fitted model refuses, found by asking it.

A model that raises on a missing value, on a text or on a number too large
becomes a bundle that answers such a row with an error of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.frames import Features, FrameCodec, WireRows
from scorewire_training.export.hard_rows import UNSEEN_TEXTS
from scorewire_training.export.reference import Reference

# The largest double that rounds to a finite float32: halfway to what would be
# the next float32 is rounded up, to infinity.
FLOAT32_LIMIT = float(np.nextafter(2.0**128 - 2.0**103, 0.0))
FLOAT64_LIMIT = float(np.finfo(np.float64).max)
# Rows that are asked for at once have no more cells.
_MAX_CELLS = 4_000_000
# So many features that refuse a magnitude speak for the others.
_FEW = 64
# A limit for all features is found but for these bits: what overflows differs from row to row.
_LIMIT_BITS = 50


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the model takes of one feature.

    `missing`: a row may lack it. `unknown`: texts that the model does not know
    are scored. `magnitude_limit`: the largest magnitude of a number.
    """

    missing: bool
    unknown: bool = False
    magnitude_limit: float = np.inf


class Prober:
    """Asks the fitted model about rows that are plain but for one feature, about many features at once.

    Args:
        reference: the fitted model.
        codec: from rows to frames.
        features: name and kind of each, in order.
        sample: rows that the model takes.
    """

    def __init__(self, reference: Reference, codec: FrameCodec, features: Features, sample: WireRows) -> None:
        self._reference = reference
        self._codec = codec
        self._numbers = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_NUMBER]
        self._texts = [name for name, kind in features if kind == schema_pb2.FEATURE_KIND_TEXT]
        missing = np.isnan(sample.numbers).sum(axis=1) + (sample.texts == "").sum(axis=1)
        self._plain = sample.take([int(np.argmin(missing))])
        with np.errstate(invalid="ignore"):
            finite = np.where(np.isfinite(sample.numbers), np.abs(sample.numbers), 0.0)
        self._beyond_sample = 2 * finite.max(axis=0) + 1

    def probe(self, known_texts: Mapping[str, Sequence[str]]) -> dict[str, Allowance]:
        """What the model takes, by feature.

        Raises:
            UnsupportedModelError: it refuses numbers that are neither missing
                nor too large, or unknown texts of a feature without a vocabulary.
        """
        allowances = {}
        every = np.arange(len(self._numbers))
        missing = self._takes_numbers(every, np.full(len(every), np.nan))
        for name, may_miss, limit in zip(self._numbers, missing, self._find_limits(), strict=True):
            allowances[name] = Allowance(bool(may_miss), magnitude_limit=float(limit))
        unseen = [_unseen(known_texts.get(name, ())) for name in self._texts]
        may_miss_text, unknown = self._takes_texts([""] * len(unseen)), self._takes_texts(unseen)
        for name, takes_missing, takes_unknown in zip(self._texts, may_miss_text, unknown, strict=True):
            if not takes_unknown and not known_texts.get(name, ()):
                raise UnsupportedModelError(
                    f"the model refuses some texts of {name!r}, and which ones cannot be told",
                    "let its encoder take unknown texts, as handle_unknown='ignore' does",
                )
            allowances[name] = Allowance(bool(takes_missing), unknown=bool(takes_unknown))
        return allowances

    def _find_limits(self) -> NDArray[np.float64]:
        """The largest magnitude taken of each number feature, the others as in a plain row."""
        limits = np.full(len(self._numbers), np.nan)
        for candidate in (np.inf, FLOAT64_LIMIT, FLOAT32_LIMIT, self._beyond_sample):
            open_ = np.flatnonzero(np.isnan(limits))
            values = np.broadcast_to(candidate, len(self._numbers))[open_]
            few = open_[:: max(1, len(open_) // _FEW)]
            # Each refusal takes calls of its own. A limit that is too low bars rows, and answers none wrong.
            spare = candidate is not self._beyond_sample and len(few) < len(open_)
            if spare and not self._takes_magnitudes(few, np.full(len(few), candidate)).any():
                continue
            taken = self._takes_magnitudes(open_, values)
            limits[open_[taken]] = values[taken]
        if len(refusing := np.flatnonzero(np.isnan(limits))):
            name, value = self._numbers[refusing[0]], self._beyond_sample[refusing[0]]
            raise UnsupportedModelError(
                f"the model refuses ordinary numbers of {name!r}, such as {value:g} or its negative",
                "let its steps take every number: handle_unknown='ignore' in a OneHotEncoder, handle_unknown="
                "'use_encoded_value' in an OrdinalEncoder, no logarithm of what may be negative",
            )
        lower = np.flatnonzero(limits < FLOAT64_LIMIT)
        sharp = ~self._takes_magnitudes(lower, np.nextafter(limits[lower], np.inf))
        blurred = lower[~sharp]
        found = self._bisect(blurred, limits[blurred])
        # So far out, what raises is a sum or product of features that overflows, in
        # another row perhaps earlier: a limit for all rows lies well below this one's.
        far = np.maximum(limits[blurred], np.sqrt(found))
        limits[blurred] = np.where(found > FLOAT32_LIMIT, far, found)
        return self._lower_together(limits)

    def _bisect(self, columns: NDArray[np.intp], taken: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest magnitudes taken, between those that are and FLOAT64_LIMIT, which is not."""
        # The bits of positive doubles, read as integers, are in their order.
        low, high = taken.view(np.int64).copy(), np.full(len(taken), FLOAT64_LIMIT).view(np.int64)
        while len(columns) and np.any(high - low > 1):
            middle = low + (high - low) // 2
            takes = self._takes_magnitudes(columns, middle.view(np.float64))
            low, high = np.where(takes, middle, low), np.where(takes, high, middle)
        return low.view(np.float64)

    def _lower_together(self, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Limits that the model takes in one row, where sums and products of features overflow."""
        largest = np.minimum(limits, FLOAT64_LIMIT)
        if not len(limits) or self._takes_together(largest):
            return limits
        least = self._beyond_sample.max()
        if not self._takes_together(np.minimum(largest, least)):
            # What is refused there is no matter of size.
            return limits
        low, high = (int(np.float64(value).view(np.int64)) for value in (least, FLOAT64_LIMIT))
        while high - low > 1 << _LIMIT_BITS:
            middle = (low + high) // 2
            if self._takes_together(np.minimum(largest, np.int64(middle).view(np.float64))):
                low = middle
            else:
                high = middle
        return np.minimum(limits, np.int64(low).view(np.float64))

    def _takes_together(self, magnitudes: NDArray[np.float64]) -> bool:
        """Whether rows are taken in which every number is as large, whatever its sign."""
        signs = np.ones((4, len(magnitudes)))
        signs[1], signs[2, ::2], signs[3, 1::2] = -1.0, -1.0, -1.0
        rows = self._plain.take([0] * len(signs))
        rows.numbers[:] = signs * magnitudes
        return not self._refused(rows).any()

    def _takes_magnitudes(self, columns: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        takes = self._takes_numbers(columns, values)
        takes[takes] = self._takes_numbers(columns[takes], -values[takes])
        return takes

    def _takes_numbers(self, columns: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether a row is taken in which one column has another value, for each of some columns."""
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
        return self._reference.answer_or_refuse(self._codec.to_frame(rows)).refused


def _unseen(known: Sequence[str]) -> str:
    """A text that is not among those known."""
    return next(text for text in (*UNSEEN_TEXTS, "".join(known) + "?") if text not in known)
