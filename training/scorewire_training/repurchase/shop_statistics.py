"""Statistics of the whole shop that features need, collected part by part.

A part is all lines of some customers. `collect_statistics` reads one part,
`merge_statistics` joins several, and the result is the same however the customers
were divided. Partial statistics are small: three numbers for each customer, a few
thousand prices, and references for similar customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scorewire_training.repurchase.data import MAX_AMOUNT
from scorewire_training.repurchase.grouping import Floats
from scorewire_training.repurchase.history import RFM, History
from scorewire_training.repurchase.segments import FifthsScale
from scorewire_training.repurchase.similar_customers import (
    SimilarCustomers,
    merge_references,
    sample_references,
)

# Keeps the sign, the exponent and ten bits of the mantissa of a float64: prices within 0.1 % are one.
_PRICE_SHIFT = 42


@dataclass(frozen=True, slots=True)
class PartialStatistics:
    """The statistics of a part of the shop.

    Attributes:
        first: the time of the first line.
        rfm: RFM of each customer.
        prices: by rounded price, the number of lines and the smallest price.
        references: references for similar customers.
    """

    first: pd.Timestamp
    rfm: pd.DataFrame
    prices: pd.DataFrame
    references: pd.DataFrame


@dataclass(frozen=True, slots=True)
class ShopStatistics:
    """The statistics of the whole shop.

    Attributes:
        first: the time of the first line.
        horizon_days: the horizon that features are built for, in days.
        recency: the scale of the negative recency, so that a late purchase scores high.
        frequency: the scale of the frequency.
        monetary: the scale of the monetary value.
        median_price: the median price of the lines, to 0.1 %; NaN where no line has a price.
        similar: similar customers; None where the shop is too young.
    """

    first: pd.Timestamp
    horizon_days: int
    recency: FifthsScale
    frequency: FifthsScale
    monetary: FifthsScale
    median_price: float
    similar: SimilarCustomers | None

    @classmethod
    def of(cls, found: PartialStatistics, horizon_days: int) -> ShopStatistics:
        """Finish the statistics of the whole shop."""
        recency, frequency, monetary = (found.rfm[name].to_numpy() for name in RFM)
        return cls(
            first=found.first,
            horizon_days=horizon_days,
            recency=FifthsScale.over(-recency),
            frequency=FifthsScale.over(frequency),
            monetary=FifthsScale.over(monetary),
            median_price=_find_median(found.prices),
            similar=SimilarCustomers.of(found.references, found.first, horizon_days),
        )


def collect_statistics(history: History, horizon_days: int) -> PartialStatistics:
    """Collect the statistics of a part."""
    return PartialStatistics(
        first=history.lines["time"].min(),
        rfm=history.measure_rfm(history.cutoff),
        prices=_count_prices(history.lines),
        references=sample_references(history, horizon_days),
    )


def merge_statistics(parts: Sequence[PartialStatistics]) -> PartialStatistics:
    """Join the statistics of several parts; the order and the grouping of the parts do not matter."""
    return PartialStatistics(
        # A part without lines has no first time, and min() of a series skips it.
        first=pd.Series([part.first for part in parts]).min(),
        rfm=pd.concat([part.rfm for part in parts], ignore_index=True),
        prices=_merge_prices([part.prices for part in parts]),
        references=merge_references([part.references for part in parts]),
    )


def unit_prices(lines: pd.DataFrame) -> Floats:
    """The price of one piece for each line; NaN without a quantity or above MAX_AMOUNT."""
    with np.errstate(over="ignore"):
        prices = lines["amount"].to_numpy() / lines["quantity"].to_numpy()
    return np.where(prices <= MAX_AMOUNT, prices, np.nan)


def _count_prices(lines: pd.DataFrame) -> pd.DataFrame:
    """By rounded price: the number of lines and the smallest price."""
    prices = unit_prices(lines) if "quantity" in lines.columns else np.empty(0)
    prices = prices[~np.isnan(prices)]
    rounded = prices.view(np.int64) >> _PRICE_SHIFT
    return _merge_prices([pd.DataFrame({"count": 1, "least": prices}, index=rounded)])


def _merge_prices(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts).groupby(level=0).agg({"count": "sum", "least": "min"})


def _find_median(prices: pd.DataFrame) -> float:
    """The smallest of the prices that round to the median; NaN without lines."""
    if prices.empty:
        return float("nan")
    reached = prices["count"].cumsum().to_numpy()
    return float(prices["least"].iloc[int(np.searchsorted(reached, reached[-1] / 2))])
