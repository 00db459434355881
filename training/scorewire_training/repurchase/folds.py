"""Folds over time and over customers: validated on a later cutoff, with customers that were not fitted on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase.cutoffs import Observations
from scorewire_training.study.validation import Fold

GROUPS = 3
_MAX_VALIDATED_CUTOFFS = 2
# A few thousand customers are enough to compare candidates; more only take longer.
_MAX_CUSTOMERS = 2_500


def draw_groups(customers: NDArray[np.object_], seed: int) -> NDArray[np.intp]:
    """A group from 0 to GROUPS - 1 for each row, the same for all rows of a customer; shape [rows]."""
    places, everyone = pd.factorize(customers, sort=True)
    groups = np.random.default_rng(seed).permutation(len(everyone)) % GROUPS
    return np.asarray(groups[places], dtype=np.intp)


def fold_over_time(rows: Observations, *, horizon_days: int, seed: int) -> list[Fold]:
    """Folds that validate each group of customers at the latest cutoffs, fitted on the other groups before.

    A fold is fitted on the cutoffs whose horizon was over at the validated one.
    Where there is no such cutoff, it is fitted on all earlier ones: then horizons
    overlap, but no customer is on both sides. With a single cutoff, only the
    customers are kept apart.

    Raises:
        TrainingError: a part of a fold has too few customers of one label.
    """
    groups = draw_groups(rows.customers, seed)
    if len(everyone := np.unique(rows.customers)) > _MAX_CUSTOMERS:
        drawn = np.random.default_rng(seed).choice(everyone, _MAX_CUSTOMERS, replace=False)
        groups = np.where(np.isin(rows.customers, drawn), groups, -1)
    days = np.unique(rows.cutoffs)
    validated_cutoffs = days[1:][-_MAX_VALIDATED_CUTOFFS:] if len(days) > 1 else days
    folds = []
    for day in validated_cutoffs:
        earlier = rows.cutoffs <= day - np.timedelta64(horizon_days, "D")
        if not earlier.any():
            earlier = rows.cutoffs < day if len(days) > 1 else rows.cutoffs == day
        for group in range(GROUPS):
            fitted_on = earlier & (groups != group) & (groups >= 0)
            folds.append(
                (np.flatnonzero(fitted_on), np.flatnonzero((rows.cutoffs == day) & (groups == group)))
            )
    if any(len(np.unique(rows.labels[part])) < 2 for fold in folds for part in fold):
        raise TrainingError(
            f"the training cutoffs have too few customers, or too few of a kind, to choose a model by "
            f"{GROUPS} groups of customers: pass more data, another cutoff or another horizon"
        )
    return folds
