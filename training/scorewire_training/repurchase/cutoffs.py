"""Cuts: the days at which customers are looked at, features from before, labels from after.

The test cut is the latest. No label of training reaches past it: each cut of
training lies a full horizon before it at least.
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

_MAX_TRAINING_CUTS = 6
_MIN_ROWS = 50
_MIN_ROWS_OF_A_CLASS = 5
# Below, a fit on a part of the rows may find the feature empty.
_MIN_KNOWN_SHARE = 0.05
_MIN_KNOWN_ROWS = 20
# Before a shop is a year old these tell how old it is rather than what a customer is like.
_OF_A_YEAR = ("frequency_trend_", "monetary_trend_")
_YEAR = pd.Timedelta(days=365)
# What a feature table of training may hold; of more customers some are drawn.
_MAX_TRAINING_ROWS = 60_000


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The cut of the test, and those of training, latest first."""

    test: pd.Timestamp
    training: tuple[pd.Timestamp, ...]


@dataclass(frozen=True, slots=True)
class Observations:
    """Customers at one or more cuts.

    Attributes:
        features: one row for each customer at each cut, without an index of its own.
        labels: whether each bought within the horizon, shape [rows].
        customers: whose row it is, shape [rows].
        cutoffs: of which cut it is, shape [rows].
    """

    features: pd.DataFrame
    labels: NDArray[np.int64]
    customers: NDArray[np.object_]
    cutoffs: NDArray[np.datetime64]


def choose_cutoffs(lines: pd.DataFrame, cutoff: date | None, horizon_days: int) -> Cutoffs:
    """The test cut, and up to six of training: the latest a horizon before it, a third of one apart.

    Those with less than a third of a horizon of history are left out.

    Args:
        lines: clean lines (`repurchase.data`).
        cutoff: of the test; None takes the latest with a full horizon after it.
        horizon_days: of the label.

    Raises:
        TrainingError: there is no such cut, or the data is too short for the horizon.
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
            f"the cut {test.date()} is not from {earliest.date()} to {latest.date()}: a full horizon of "
            f"{horizon_days} days must follow it, and two must precede it to train on"
        )
    step = pd.Timedelta(days=max(1, horizon_days // 3))
    training = [test - horizon - number * step for number in range(_MAX_TRAINING_CUTS)]
    return Cutoffs(test, tuple(day for day in training if day - step >= first))


def observe_training(lines: pd.DataFrame, cutoffs: Cutoffs, *, horizon_days: int, seed: int) -> Observations:
    """The customers at all cuts of training; where they are very many, those that are drawn by `seed`.

    A feature that a cut knows of hardly anybody would tell which cut a row is of,
    and nothing else: it is left out. So are the trends where a cut has less than a
    year of history.

    Raises:
        TrainingError: there are too few rows to learn from.
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
    """All customers at the test cut.

    Args:
        lines: clean lines.
        cutoffs: of which the test's is taken.
        horizon_days: of the label.
        columns: the features to keep.

    Raises:
        TrainingError: there are too few rows to judge by.
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
            "another cut or another horizon"
        )
    return Observations(
        features=rows.reset_index(drop=True),
        labels=truth,
        customers=rows.index.to_numpy(dtype=object),
        cutoffs=np.repeat(np.array(cutoffs, dtype="datetime64[ns]"), [len(table) for table in tables]),
    )
