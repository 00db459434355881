"""RFM scores by fifths of the customers, and segments of customers with similar scores.

The segments are those of the usual grid over the scores of recency and frequency,
from the best customers to the lost ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.repurchase.grouping import Floats

SCORES = 5
# The segment by recency score (down, from 1) and frequency score (across, from 1).
_GRID = np.array(
    [
        ["hibernating", "hibernating", "at risk", "at risk", "cannot lose"],
        ["hibernating", "hibernating", "at risk", "at risk", "cannot lose"],
        ["about to sleep", "about to sleep", "need attention", "loyal", "loyal"],
        ["promising", "potential loyal", "potential loyal", "loyal", "loyal"],
        ["new", "potential loyal", "potential loyal", "champions", "champions"],
    ],
    dtype=object,
)
# From the best customers to the lost ones.
SEGMENTS = (
    "champions",
    "loyal",
    "potential loyal",
    "new",
    "promising",
    "need attention",
    "about to sleep",
    "cannot lose",
    "at risk",
    "hibernating",
)


@dataclass(frozen=True, slots=True)
class FifthsScale:
    """Scores from 1 to 5: one more than the number of whole fifths of all customers with smaller values.

    Equal values get equal scores, so a shop where half of the customers bought once
    has no score of 2. With few customers, nobody may have the high scores.
    """

    values: Floats  # the values of all customers, ascending

    @classmethod
    def over(cls, values: Floats) -> FifthsScale:
        """The scale of customers with these values, in any order."""
        return cls(np.sort(values))

    def score(self, values: Floats) -> Floats:
        """The scores of values; same shape."""
        below = np.searchsorted(self.values, values, side="left")
        return (1 + SCORES * below // max(len(self.values), 1)).clip(max=SCORES).astype(np.float64)


def name_segments(recency_score: Floats, frequency_score: Floats) -> NDArray[np.object_]:
    """The segment of each customer."""
    segments: NDArray[np.object_] = _GRID[recency_score.astype(int) - 1, frequency_score.astype(int) - 1]
    return segments


def tabulate_segments(features: pd.DataFrame, labels: NDArray[np.int64] | None = None) -> pd.DataFrame:
    """Number and means of the customers of each segment, and the share that bought again if labels are given.

    Args:
        features: as `build_features` makes them.
        labels: as `build_labels` makes them, shape [customers].

    Returns:
        Index segment, from the best to the lost, without empty segments; columns customers, share,
        recency_days, frequency, monetary, and with labels repurchased_share.
    """
    by_segment = features.groupby("segment")
    table = by_segment[["recency_days", "frequency", "monetary"]].mean()
    table.insert(0, "customers", by_segment.size())
    table.insert(1, "share", table["customers"] / len(features))
    if labels is not None:
        table["repurchased_share"] = (
            pd.Series(labels, index=features.index).groupby(features["segment"]).mean()
        )
    return table.loc[[segment for segment in SEGMENTS if segment in table.index]]
