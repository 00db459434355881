"""Users of a game in their first days: reading, checking, and the split in three parts.

Nothing is filled or encoded here: columns reach the pipeline as a service would
send them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.tables import read_numbers, read_table, require_columns

USER = "user_id"
TEXTS = ("country", "country_region", "source", "platform", "device_family", "os_version")
NUMBERS = ("event_1", "event_2", "event_3")
FEATURES = (*TEXTS, *NUMBERS)
TARGET = "revenue"

DESCRIPTIONS = {
    "country": "two letters; case does not matter",
    "country_region": "region within the country",
    "source": "whether an advertisement brought the user",
    "platform": "operating system; case does not matter",
    "device_family": "device or family of devices",
    "os_version": "version of the operating system, as text",
    "event_1": "times of event 1 in the first days",
    "event_2": "times of event 2 in the first days",
    "event_3": "times of event 3 in the first days",
}

# Dollars; users of one band and one group of countries are shared out alike.
_REVENUE_BANDS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_COUNTRY_SHARE = 0.005
# 14 of 20 users train, 3 validate, 3 test.
_PARTS = np.array([0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0])
_MIN_USERS = 200


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the users: `features` with the columns FEATURES, `revenue` of shape [rows]."""

    features: pd.DataFrame
    revenue: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """70 % to fit on, 15 % to choose by, 15 % to judge by once."""

    training: Part
    validation: Part
    test: Part


def read_users(path: Path | None, *, seed: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read users; without a path, generate 20,000 from the seed.

    Returns:
        One row a user, the columns FEATURES and TARGET, texts and float64 numbers,
        missing ones NaN; and notes on what was left out, for people.

    Raises:
        TrainingError: the table cannot be read, lacks a column, has a value that
            is no number where one must be, or too few users.
    """
    if path is None:
        table = generate_users(20_000, seed=seed)
        notes = [f"{len(table):,} users, generated"]
    else:
        table = read_table(path, text_columns=(USER, *TEXTS))
        notes = [f"{len(table):,} users"]
    require_columns((*FEATURES, TARGET), table)
    users = pd.DataFrame(index=table.index)
    for column in TEXTS:
        texts = table[column].astype(object)
        users[column] = texts.where(texts.isna(), texts.map(str))
    for column in (*NUMBERS, TARGET):
        users[column] = read_numbers(table[column])
    if USER in table.columns:
        again = table[USER].duplicated() & table[USER].notna()
        users = _leave_out(users, again, "the same user again", notes)
    users = _leave_out(users, users[TARGET].isna(), "no revenue", notes)
    users = _leave_out(users, users[TARGET] < 0, "revenue below zero", notes)
    if len(users) < _MIN_USERS:
        raise TrainingError(f"the table has {len(users)} users: at least {_MIN_USERS} are needed")
    if not (users[TARGET] > 0).any():
        raise TrainingError("no user has any revenue: there is nothing to learn")
    return users.reset_index(drop=True), tuple(notes)


def split_users(users: pd.DataFrame, *, seed: int) -> Split:
    """Share users out by lot, alike within each band of revenue and group of countries.

    A country with at least 0.5 % of the users is a group, the others are one. All
    users of one stratum stand together, in random order, and are dealt out
    14 : 3 : 3, so that strata of any size are shared out as evenly as can be.
    """
    revenue = users[TARGET].to_numpy()
    country = users["country"].fillna("").str.lower()
    share = country.map(country.value_counts(normalize=True))
    group = pd.factorize(country.where(share >= _COUNTRY_SHARE, ""), sort=True)[0]
    band = np.digitize(revenue, _REVENUE_BANDS, right=True)
    lot = np.random.default_rng(seed).random(len(users))
    parts = np.empty(len(users), dtype=np.int64)
    parts[np.lexsort((lot, group, band))] = np.resize(_PARTS, len(users))

    def take(part: int) -> Part:
        rows = users[parts == part].reset_index(drop=True)
        return Part(rows[list(FEATURES)], rows[TARGET].to_numpy())

    return Split(take(0), take(1), take(2))


def _leave_out(users: pd.DataFrame, rows: pd.Series[bool], what: str, notes: list[str]) -> pd.DataFrame:
    rows = rows.reindex(users.index)
    if count := int(rows.sum()):
        notes.append(f"{count:,} left out: {what}")
    return users[~rows]
