"""Users of a game in their first days: reading, checking, and the partition into three parts.

Nothing is filled or encoded here: the pipeline gets columns as a service would send
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.tables.columns import match_columns, require_columns
from scorewire_training.tables.files import open_table
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.reading import TableInspector
from scorewire_training.tables.settings import TableSettings
from scorewire_training.tables.texts import find_values, read_texts
from scorewire_training.training_result import CleaningStep

USER = "user_id"
TEXTS = ("country", "country_region", "source", "platform", "device_family", "os_version")
NUMBERS = ("event_1", "event_2", "event_3")
# The events that revenue grows with; event 1 is very rare.
EXPOSURE = ("event_2", "event_3")
FEATURES = (*TEXTS, *NUMBERS)
TARGET = "revenue"
_SPELLINGS = {role: (role.replace("_", ""),) for role in (USER, *FEATURES, TARGET)}

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

# Dollars; users of one band and one group of countries form a stratum.
_REVENUE_BANDS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_COUNTRY_SHARE = 0.005
# Of 20 users, 14 are for training, 3 for validation and 3 for the test.
_PARTS = np.array([0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0])
_MIN_USERS = 200
_MIN_PAYING_USERS = 20


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the users: `features` with the columns FEATURES, and `revenue` of shape [rows]."""

    features: pd.DataFrame
    revenue: NDArray[np.float64]

    def __add__(self, other: Part) -> Part:
        return Part(
            pd.concat([self.features, other.features], ignore_index=True),
            np.concatenate([self.revenue, other.revenue]),
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Part:
        """Some of the users."""
        return Part(self.features.iloc[rows].reset_index(drop=True), self.revenue[rows])


@dataclass(frozen=True, slots=True)
class Partition:
    """70 % of the users to fit on, 15 % to validate on, 15 % for the final test."""

    training: Part
    validation: Part
    test: Part


@dataclass(frozen=True, slots=True)
class Users:
    """Users as they were read; `rows` has the columns FEATURES, and TARGET where it was asked for.

    Texts are as written, numbers float64, NaN where missing. `ids` has the id of each
    user; None where the table has no ids.
    """

    rows: pd.DataFrame
    ids: pd.Series[Any] | None
    notes: tuple[TableNote, ...]


def read_rows(path: Path | None, *, seed: int, settings: TableSettings | None = None, target: bool) -> Users:
    """Read all users of a file; without a path, generate 20,000 users with the seed.

    Args:
        path: the table, .csv or .parquet.
        seed: the seed of generated users.
        settings: how the table is written; None finds everything out.
        target: whether the table must have the revenue, which is then read.

    Raises:
        TrainingError: the table cannot be read, lacks a column, has a value that is
            not a number in a column of numbers, or numbers with two readings.
    """
    settings = settings or TableSettings()
    if settings.date_format is not None:
        raise TrainingError("users have no times: leave the date format out")
    notes: tuple[TableNote, ...] = ()
    if path is None:
        table = generate_users(20_000, seed=seed)
        found = _find_columns(list(table.columns), settings, target=target)
    else:
        file = open_table(path, settings)
        notes, found = file.notes, _find_columns(file.columns, settings, target=target)
        table = file.read(list(found.values()))
    inspector = TableInspector(found, settings, numbers=(*NUMBERS, TARGET))
    inspector.add(table)
    reading = inspector.decide(notes, strict=True)
    rows = pd.DataFrame(index=table.index)
    for role in (role for role in found if role != USER):
        column = table[found[role]]
        rows[role] = _read_texts(column) if role in TEXTS else reading.numbers.read(column)
    ids = read_texts(table[found[USER]]) if USER in found else None
    return Users(rows, ids, reading.notes)


def _find_columns(columns: Sequence[str], settings: TableSettings, *, target: bool) -> dict[str, str]:
    """The names of the columns to read, by the names of this module."""
    given = {role: name for role, name in settings.columns.items() if target or role != TARGET}
    found = match_columns(columns, _SPELLINGS, given)
    require_columns(found, (*FEATURES, TARGET) if target else FEATURES, columns)
    if not target:
        found.pop(TARGET, None)
    return found


def read_users(
    path: Path | None, *, seed: int, settings: TableSettings | None = None
) -> tuple[pd.DataFrame, tuple[CleaningStep, ...]]:
    """Read users to train on: `clean_users` of `read_rows`."""
    return clean_users(read_rows(path, seed=seed, settings=settings, target=True))


def leave_out(read: Users) -> tuple[pd.DataFrame, tuple[CleaningStep, ...]]:
    """Leave out the users that cannot teach, of users that were read with their revenue.

    Returns:
        The users that are left, as they were read; and the cleaning steps.
    """
    users = read.rows
    again = pd.Series(data=False, index=users.index)
    if read.ids is not None:
        again = read.ids.duplicated() & read.ids.notna()
    steps = []
    for name, reason, rows in (
        ("duplicates", "the same user again", again),
        ("revenue missing", "no revenue", users[TARGET].isna()),
        ("revenue negative", "revenue below zero", users[TARGET] < 0),
    ):
        taken = rows.reindex(users.index)
        users = users[~taken]
        steps.append(
            CleaningStep(name=name, reason=reason, rows_taken=int(taken.sum()), rows_left=len(users))
        )
    return users, tuple(steps)


def clean_users(read: Users) -> tuple[pd.DataFrame, tuple[CleaningStep, ...]]:
    """Leave out the users that cannot teach.

    Returns:
        One row for each user with the columns FEATURES and TARGET; and the cleaning steps.

    Raises:
        TrainingError: too few users are left, or too few with revenue.
    """
    users, steps = leave_out(read)
    if len(users) < _MIN_USERS:
        raise TrainingError(f"the table has {len(users)} users: at least {_MIN_USERS} are needed")
    active = (users[list(EXPOSURE)] > 0).any(axis=1)
    paying = int((active & (users[TARGET] > 0)).sum())
    if paying < _MIN_PAYING_USERS:
        raise TrainingError(
            f"{paying} users have revenue and {' or '.join(EXPOSURE)}: at least {_MIN_PAYING_USERS} are "
            "needed to fit and evaluate a model"
        )
    return users.reset_index(drop=True), steps


def _read_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    codes, values = find_values(column)
    # The code of a missing value is -1, the last element.
    texts = np.array([*map(str, values), np.nan], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def partition_users(users: pd.DataFrame, *, seed: int) -> Partition:
    """Assign users at random to the three parts, stratified by band of revenue and group of countries.

    The users are sorted by stratum, in random order within a stratum, and dealt out
    14 : 3 : 3, so that strata of any size are divided as evenly as possible.
    """
    everyone = Part(users[list(FEATURES)], users[TARGET].to_numpy())
    part = _assign_in_turn(everyone, _PARTS, seed)
    return Partition(*(everyone.take(part == i) for i in range(3)))


def draw_folds(part: Part, count: int, *, seed: int) -> NDArray[np.int64]:
    """The fold of each user, 0 to count - 1, shape [rows]; stratified as by `partition_users`."""
    return _assign_in_turn(part, np.arange(count), seed)


def group_countries(country: pd.Series[str]) -> pd.Series[str]:
    """The group of each user: a country with at least 0.5 % of the users, or "" for all others."""
    folded = country.fillna("").str.strip().str.lower()
    share = folded.map(folded.value_counts(normalize=True))
    return folded.where(share >= _COUNTRY_SHARE, "")


def _assign_in_turn(part: Part, numbers: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give the users the numbers in turn, in random order within each stratum; the number of each user."""
    group = pd.factorize(group_countries(part.features["country"]), sort=True)[0]
    band = np.digitize(part.revenue, _REVENUE_BANDS, right=True)
    shuffle = np.random.default_rng(seed).random(len(part.revenue))
    assigned = np.empty(len(part.revenue), dtype=np.int64)
    assigned[np.lexsort((shuffle, group, band))] = np.resize(numbers, len(part.revenue))
    return assigned
