"""Similar customers: the nearest in RFM at earlier cutoffs, and whether they bought again.

Only cutoffs whose horizon was over before the present cutoff are used, so every
label that is read was known by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.neighbors import KDTree

from scorewire_training.repurchase.grouping import Floats
from scorewire_training.repurchase.history import RFM, History

NEIGHBOURS = 100
_CUTS = 3
# For each cutoff; with more, the mean over the nearest hardly changes and the look-up takes longer.
_MAX_REFERENCES = 20_000
_COLUMNS = ("cutoff", "hash", *RFM, "bought")


def sample_references(history: History, horizon_days: int) -> pd.DataFrame:
    """Customers at earlier cutoffs: columns cutoff, hash, recency_days, frequency, monetary, bought (1 or 0).

    The latest of these cutoffs is exactly a horizon before the present one; the
    others are earlier, a third of a horizon apart.
    """
    hashes = pd.util.hash_array(history.customers.to_numpy())
    purchases = history.purchases
    horizon = pd.Timedelta(days=horizon_days)
    parts = []
    for number in range(_CUTS):
        cutoff = history.cutoff - horizon - number * _step(horizon_days)
        rfm = history.measure_rfm(cutoff)
        bought = np.zeros(len(history.customers))
        bought[
            purchases.loc[(purchases["time"] >= cutoff) & (purchases["time"] < cutoff + horizon), "customer"]
        ] = 1
        part = rfm.assign(cutoff=cutoff, hash=hashes[rfm.index], bought=bought[rfm.index])
        parts.append(part[list(_COLUMNS)])
    return merge_references(parts)


def merge_references(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join references in a fixed order; keep those with the lowest hashes of each cutoff, a fair sample."""
    references = pd.concat(parts, ignore_index=True)
    order = np.lexsort([references[column] for column in reversed(_COLUMNS)])
    return references.take(order).groupby("cutoff").head(_MAX_REFERENCES).reset_index(drop=True)


def _step(horizon_days: int) -> pd.Timedelta:
    return pd.Timedelta(days=max(1, horizon_days // 3))


@dataclass(frozen=True, slots=True)
class SimilarCustomers:
    """An index of references, to look up the nearest of a customer."""

    tree: KDTree
    mean: Floats
    spread: Floats
    bought: Floats

    @classmethod
    def of(cls, references: pd.DataFrame, first: pd.Timestamp, horizon_days: int) -> SimilarCustomers | None:
        """Build the index; None where a shop whose first line is of `first` has too few references.

        A cutoff with less than a third of a horizon of history is not used.
        """
        references = references[references["cutoff"] >= first + _step(horizon_days)]
        if len(references) < NEIGHBOURS:
            return None
        points = _scale_down(references)
        mean, spread = points.mean(axis=0), points.std(axis=0)
        spread[spread == 0] = 1
        return cls(KDTree((points - mean) / spread), mean, spread, references["bought"].to_numpy())

    def repurchase(self, rfm: pd.DataFrame) -> Floats:
        """The share of each customer's nearest references that bought again; shape [customers]."""
        points = (_scale_down(rfm) - self.mean) / self.spread
        if not len(points):
            return np.empty(0)
        nearest = self.tree.query(points, k=NEIGHBOURS, return_distance=False)
        repurchase: Floats = self.bought[nearest].mean(axis=1)
        return repurchase


def _scale_down(rfm: pd.DataFrame) -> Floats:
    """Logarithms of RFM: without them, one large customer would make all others look alike."""
    points: Floats = np.log1p(rfm[list(RFM)].to_numpy(dtype=np.float64))
    return points
