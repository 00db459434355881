"""Cutoffs: days that separate the time of the features from the time of the labels.

1. Features at a cutoff are made of purchases before it, labels of the horizon from it on.
2. The test cutoff is the latest. Every training cutoff is at least a full horizon
   earlier, so that no training label reaches past the test cutoff.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase.features import TEXTS, build_features, build_labels

_MAX_TRAINING_CUTOFFS = 6
_MIN_ROWS = 50
_MIN_ROWS_OF_A_CLASS = 5
# With fewer known values, the feature may be empty in a part of the rows.
_MIN_KNOWN_SHARE = 0.05
_MIN_KNOWN_ROWS = 20
# In the first year of a shop these features measure its age rather than its customers.
_OF_A_YEAR = ("frequency_trend_", "monetary_trend_")
_YEAR = pd.Timedelta(days=365)
# Rows of all training cutoffs together; beyond it, customers are sampled.
_MAX_TRAINING_ROWS = 60_000


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The test cutoff, and the training cutoffs with the latest first."""

    test: pd.Timestamp
    training: tuple[pd.Timestamp, ...]


@dataclass(frozen=True, slots=True)
class Observations:
    """Customers at one or more cutoffs.

    Attributes:
        features: one row for each customer at each cutoff, with a plain index.
        labels: 1 for a purchase within the horizon, else 0, shape [rows].
        customers: the customer of each row, shape [rows].
        cutoffs: the cutoff of each row, shape [rows].
    """

    features: pd.DataFrame
    labels: NDArray[np.int64]
    customers: NDArray[np.object_]
    cutoffs: NDArray[np.datetime64]


def choose_cutoffs(lines: pd.DataFrame, cutoff: date | None, horizon_days: int) -> Cutoffs:
    """The test cutoff, and up to six training cutoffs.

    The latest training cutoff is a horizon before the test cutoff, the others are a
    third of a horizon apart. Those with less than a third of a horizon of history
    are left out.

    Args:
        lines: clean lines (`repurchase.data`).
        cutoff: the test cutoff; None takes the latest with a full horizon after it.
        horizon_days: the horizon of the label in days.

    Raises:
        TrainingError: the data is too short for the horizon, or the given cutoff has
            less than a horizon after it or less than two before it.
    """
    horizon = pd.Timedelta(days=horizon_days)
    first, last = lines["time"].iloc[0].normalize(), lines["time"].iloc[-1].normalize()
    earliest, latest = first + 2 * horizon, last - horizon
    if latest < earliest:
        raise TrainingError(
            f"the data has {(last - first).days} days, {first.date()} to {last.date()}, and a horizon of "
            f"{horizon_days} days takes three times as many: pass a shorter horizon or more data"
        )
    test = latest if cutoff is None else pd.Timestamp(cutoff)
    if not earliest <= test <= latest:
        raise TrainingError(
            f"the cutoff {test.date()} is not from {earliest.date()} to {latest.date()}: a full horizon of "
            f"{horizon_days} days must follow it, and two must precede it to train on"
        )
    step = pd.Timedelta(days=max(1, horizon_days // 3))
    training = [test - horizon - number * step for number in range(_MAX_TRAINING_CUTOFFS)]
    return Cutoffs(test, tuple(day for day in training if day - step >= first))


def observe_training(lines: pd.DataFrame, cutoffs: Cutoffs, *, horizon_days: int, seed: int) -> Observations:
    """The customers at all training cutoffs, or a sample of very many customers drawn with `seed`.

    A feature that is known of hardly any customer at one cutoff would only tell
    which cutoff a row belongs to, and is left out. So are the trends, where a
    cutoff has less than a year of history.

    Raises:
        TrainingError: there are too few rows, or too few rows of one label, to learn from.
    """
    tables = [build_features(lines, cutoff, horizon_days=horizon_days) for cutoff in cutoffs.training]
    everyone = tables[0].index
    if sum(len(table) for table in tables) > _MAX_TRAINING_ROWS:
        rng = np.random.default_rng(seed)
        drawn = everyone[rng.permutation(len(everyone))[: _MAX_TRAINING_ROWS // len(tables)]]
        tables = [table[table.index.isin(drawn)] for table in tables]
    young = cutoffs.training[-1] - lines["time"].iloc[0] < _YEAR
    known = [
        name
        for name in tables[0].columns
        if all(_is_known(table[name]) for table in tables) and not (young and name.startswith(_OF_A_YEAR))
    ]
    labels = [
        build_labels(lines, table.index, cutoff, horizon_days)
        for table, cutoff in zip(tables, cutoffs.training, strict=True)
    ]
    return _join([table[known] for table in tables], labels, cutoffs.training, "training")


def observe_test(
    lines: pd.DataFrame, cutoffs: Cutoffs, *, horizon_days: int, columns: pd.Index[str]
) -> Observations:
    """All customers at the test cutoff.

    Args:
        lines: clean lines.
        cutoffs: the cutoffs; only the test cutoff is used.
        horizon_days: the horizon of the label in days.
        columns: the features to keep.

    Raises:
        TrainingError: there are too few rows, or too few rows of one label, to test on.
    """
    table = build_features(lines, cutoffs.test, horizon_days=horizon_days)[columns]
    labels = build_labels(lines, table.index, cutoffs.test, horizon_days)
    return _join([table], [labels], (cutoffs.test,), "test")


def _is_known(column: pd.Series[Any]) -> bool:
    return column.name in TEXTS or column.notna().sum() >= max(
        _MIN_KNOWN_ROWS, _MIN_KNOWN_SHARE * len(column)
    )


def _join(
    tables: list[pd.DataFrame],
    labels: list[NDArray[np.int64]],
    cutoffs: tuple[pd.Timestamp, ...],
    part: str,
) -> Observations:
    rows = pd.concat(tables)
    truth = np.concatenate(labels)
    positive = int(truth.sum())
    if len(truth) < _MIN_ROWS or min(positive, len(truth) - positive) < _MIN_ROWS_OF_A_CLASS:
        raise TrainingError(
            f"the {part} part has {len(truth)} rows, {positive} with a purchase within the horizon: "
            f"at least {_MIN_ROWS} rows and {_MIN_ROWS_OF_A_CLASS} of each kind are needed; pass more data, "
            "another cutoff or another horizon"
        )
    return Observations(
        features=rows.reset_index(drop=True),
        labels=truth,
        customers=rows.index.to_numpy(dtype=object),
        cutoffs=np.repeat(np.array(cutoffs, dtype="datetime64[ns]"), [len(table) for table in tables]),
    )
