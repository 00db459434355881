"""What the fitted model refuses, found by asking it.

A model that raises on a missing value, on a text or on a number too large
becomes a bundle that answers such a row with an error of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.frames import Features, FrameCodec, WireRows
from scorewire_training.export.hard_rows import UNSEEN_TEXTS
from scorewire_training.export.reference import Reference

# The largest double that rounds to a finite float32: halfway to what would be
# the next float32 is rounded up, to infinity.
FLOAT32_LIMIT = float(np.nextafter(2.0**128 - 2.0**103, 0.0))
FLOAT64_LIMIT = float(np.finfo(np.float64).max)


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
    """Asks the fitted model about one row, plain but for one feature.

    Args:
        reference: the fitted model.
        codec: from rows to frames.
        features: name and kind of each, in order.
        sample: rows that the model takes.
    """

    def __init__(self, reference: Reference, codec: FrameCodec, features: Features, sample: WireRows) -> None:
        self._reference = reference
        self._codec = codec
        self._features = features
        missing = np.isnan(sample.numbers).sum(axis=1) + (sample.texts == "").sum(axis=1)
        self._plain = sample.take([int(np.argmin(missing))])
        with np.errstate(invalid="ignore"):
            finite = np.where(np.isfinite(sample.numbers), np.abs(sample.numbers), 0.0)
        self._largest = finite.max(axis=0)

    def probe(self, known_texts: Mapping[str, Sequence[str]]) -> dict[str, Allowance]:
        """What the model takes, by feature.

        Raises:
            UnsupportedModelError: it refuses numbers that are neither missing
                nor too large, or unknown texts of a feature without a vocabulary.
        """
        allowances = {}
        number = text = 0
        for name, kind in self._features:
            if kind == schema_pb2.FEATURE_KIND_NUMBER:
                allowances[name] = Allowance(
                    self._takes_number(number, np.nan), magnitude_limit=self._find_limit(name, number)
                )
                number += 1
                continue
            known = known_texts.get(name, ())
            unseen = next(t for t in (*UNSEEN_TEXTS, "".join(known) + "?") if t not in known)
            allowance = Allowance(self._takes_text(text, ""), unknown=self._takes_text(text, unseen))
            if not allowance.unknown and not known:
                raise UnsupportedModelError(
                    f"the model refuses some texts of {name!r}, and which ones cannot be told",
                    "let its encoder take unknown texts, as handle_unknown='ignore' does",
                )
            allowances[name] = allowance
            text += 1
        return allowances

    def _find_limit(self, name: str, column: int) -> float:
        beyond_sample = 2 * float(self._largest[column]) + 1
        for limit in (np.inf, FLOAT64_LIMIT, FLOAT32_LIMIT, beyond_sample):
            if not self._takes_magnitude(column, limit):
                continue
            if limit in (FLOAT64_LIMIT, np.inf):
                return limit
            if not self._takes_magnitude(column, float(np.nextafter(limit, np.inf))):
                return limit
            found = self._bisect(column, limit)
            # So far out, what raises is a sum or product of features that overflows, in
            # another row perhaps earlier: a limit for all rows lies well below this one's.
            return max(limit, math.sqrt(found)) if found > FLOAT32_LIMIT else found
        raise UnsupportedModelError(
            f"the model refuses ordinary numbers of {name!r}, such as {beyond_sample:g} or its negative",
            "let its steps take every number: handle_unknown='ignore' in a OneHotEncoder, "
            "handle_unknown='use_encoded_value' in an OrdinalEncoder, no logarithm of what may be negative",
        )

    def _bisect(self, column: int, taken: float) -> float:
        """The largest magnitude taken, between one that is and FLOAT64_LIMIT, which is not."""
        # The bits of positive doubles, read as integers, are in their order.
        low, high = (int(np.float64(value).view(np.int64)) for value in (taken, FLOAT64_LIMIT))
        while high - low > 1:
            middle = (low + high) // 2
            if self._takes_magnitude(column, float(np.int64(middle).view(np.float64))):
                low = middle
            else:
                high = middle
        return float(np.int64(low).view(np.float64))

    def _takes_magnitude(self, column: int, magnitude: float) -> bool:
        return self._takes_number(column, magnitude) and self._takes_number(column, -magnitude)

    def _takes_number(self, column: int, value: float) -> bool:
        row = self._plain.take([0])
        row.numbers[0, column] = value
        return self._takes(row)

    def _takes_text(self, column: int, value: str) -> bool:
        row = self._plain.take([0])
        row.texts[0, column] = value
        return self._takes(row)

    def _takes(self, row: WireRows) -> bool:
        return not self._reference.answer_or_refuse(self._codec.to_frame(row)).refused[0]
