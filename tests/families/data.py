"""Rows with missing cells, and targets for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NUMBERS = ["age", "income", "score", "visits", "level"]
TEXTS = ["country", "platform"]
MISSING_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Data:
    """Rows with 15 % of their cells missing, and targets by name."""

    frame: pd.DataFrame
    targets: dict[str, NDArray[Any]]


def make_data(rows: int, seed: int = 0) -> Data:
    """Numbers of several kinds and two columns of text, with None for missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows).astype(np.float64),
            "income": np.round(rng.lognormal(10, 1, rows), 2),
            "score": rng.normal(size=rows),
            "visits": rng.poisson(1.5, rows).astype(np.float64),
            "level": rng.integers(0, 6, rows).astype(np.float64),
            "country": rng.choice([f"land {i}" for i in range(20)], rows),
            "platform": rng.choice(["iOS", "IOS", "ios ", "Android", "web"], rows),
        }
    ).astype(dict.fromkeys(TEXTS, object))
    signal = (
        frame["age"] / 30
        + np.log(frame["income"]) / 4
        + frame["score"] * (frame["visits"] > 1)
        + (frame["country"].str.len() - 6)
        + frame["platform"].str.lower().str.strip().eq("ios")
        + rng.normal(scale=0.5, size=rows)
    ).to_numpy()
    hidden = rng.random(frame.shape) < MISSING_SHARE
    frame = frame.mask(hidden, None).astype(dict.fromkeys(NUMBERS, np.float64))
    signal = signal + hidden[:, 0]
    value = signal - signal.mean()
    ranks = signal.argsort().argsort() / rows
    three = np.digitize(ranks, [0.3, 0.7])
    return Data(
        frame,
        {
            "value": value,
            "positive": np.exp(value / 2),
            "count": rng.poisson(np.exp(value / 3)).astype(np.float64),
            "share": ranks,
            "two": (value > 0).astype(int),
            "named": np.where(value > 0, "yes", "no"),
            "three": three,
            "labels": np.column_stack([three, value > 0]),
            "tags": np.column_stack([value > 0, three == 1, three == 2]).astype(int),
            "pair": np.column_stack([value, -(value**2)]),
        },
    )


def categories(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(dict.fromkeys(TEXTS, "category"))


def everything(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def empty_texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.fillna(dict.fromkeys(TEXTS, ""))


def filled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[NUMBERS].fillna(-999.0)


def fine(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers without equal values, so that no two rows are equally near to a third."""
    rng = np.random.default_rng(1)
    columns = ["age", "score", "visits"]
    return frame[columns].fillna(0.0) + rng.uniform(0, 0.5, (len(frame), len(columns)))


def fine_with_holes(frame: pd.DataFrame) -> pd.DataFrame:
    """The same numbers, missing where the caller's are."""
    numbers = fine(frame)
    return numbers.where(frame[numbers.columns].notna())


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers with many equal rows."""
    return frame[["visits", "level"]].fillna(0.0)


def small_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["age", "score", "visits"]]
