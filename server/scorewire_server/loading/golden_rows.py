"""The golden rows of a bundle, scored in runs of any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import Scorer


class GoldenRows:
    """Scores golden rows that are not refused.

    Args:
        bundle: a bundle whose golden rows have the expected scores.
        scorer: a scorer of the bundle.
        most: the most rows.

    Attributes:
        indices: the rows.
    """

    def __init__(self, bundle: Bundle, scorer: Scorer, most: int) -> None:
        rows = bundle.golden.rows
        self._scorer = scorer
        self._numbers = np.array(rows.numbers, dtype=np.float64).reshape(rows.row_count, scorer.number_count)
        self._texts = np.array(rows.texts, dtype=object).reshape(rows.row_count, scorer.text_count)
        refused = {error.row for error in bundle.golden.expected.errors}
        self.indices = np.array([row for row in range(rows.row_count) if row not in refused][:most])

    def score(self, chosen: NDArray[np.int64]) -> list[bytes]:
        """The scores of chosen rows in one run, as bytes for each row."""
        numbers, texts = self._numbers[chosen].ravel(), self._texts[chosen].ravel().tolist()
        scores = self._scorer.score(len(chosen), numbers, texts)
        if any(values.dtype == object for values in scores.outputs):
            columns = np.concatenate([values.astype(object) for values in scores.outputs], axis=1)
            return [repr(row).encode() for row in columns.tolist()]
        return [row.tobytes() for row in np.concatenate(scores.outputs, axis=1)]

    def score_alone(self) -> list[bytes]:
        """The scores of each row in a run of its own."""
        return [self.score(self.indices[i : i + 1])[0] for i in range(len(self.indices))]
