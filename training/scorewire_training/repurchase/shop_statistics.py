"""What the features need to know of the whole shop, gathered part by part.

A part is all lines of some customers. Each is surveyed alone, the surveys are
brought together, and the shop that comes of it is the same however the
customers were parted. A survey is bounded by what it keeps: three numbers a
customer, a few thousand prices, the references of the peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scorewire_training.repurchase.data import MAX_AMOUNT
from scorewire_training.repurchase.grouping import Floats
from scorewire_training.repurchase.history import RFM, History
from scorewire_training.repurchase.segments import Scale
from scorewire_training.repurchase.similar_customers import (
    SimilarCustomers,
    merge_references,
    sample_references,
)

# Of a float64 the sign, the exponent and ten bits of the mantissa: prices apart by 0.1 % and less are one.
_PRICE_SHIFT = 42


@dataclass(frozen=True, slots=True)
class PartialStatistics:
    """What a part tells of the shop.

    Attributes:
        first: time of the first line.
        rfm: of each customer.
        prices: by price as rounded, the count of lines and the least price.
        references: for the peers.
    """

    first: pd.Timestamp
    rfm: pd.DataFrame
    prices: pd.DataFrame
    references: pd.DataFrame


@dataclass(frozen=True, slots=True)
class ShopStatistics:
    """What is the same for all customers.

    Attributes:
        first: time of the first line.
        horizon_days: for which features are built.
        recency: scale of the recency, negative so that a late purchase scores high.
        frequency: scale of the frequency.
        monetary: scale of the monetary value.
        median_price: of a line, to 0.1 %; NaN where no line has a price.
        similar: None where the shop is too young.
    """

    first: pd.Timestamp
    horizon_days: int
    recency: Scale
    frequency: Scale
    monetary: Scale
    median_price: float
    similar: SimilarCustomers | None

    @classmethod
    def of(cls, found: PartialStatistics, horizon_days: int) -> ShopStatistics:
        """The shop that a survey of all of it tells of."""
        recency, frequency, monetary = (found.rfm[name].to_numpy() for name in RFM)
        return cls(
            first=found.first,
            horizon_days=horizon_days,
            recency=Scale.over(-recency),
            frequency=Scale.over(frequency),
            monetary=Scale.over(monetary),
            median_price=_find_median(found.prices),
            similar=SimilarCustomers.of(found.references, found.first, horizon_days),
        )


def collect_statistics(history: History, horizon_days: int) -> PartialStatistics:
    """Look at a part."""
    return PartialStatistics(
        first=history.lines["time"].min(),
        rfm=history.measure_rfm(history.cutoff),
        prices=_count_prices(history.lines),
        references=sample_references(history, horizon_days),
    )


def merge_statistics(surveys: Sequence[PartialStatistics]) -> PartialStatistics:
    """The survey of several parts; the same in whichever order and however often it is done."""
    return PartialStatistics(
        # A part without lines has no first one, which min() over a series leaves out.
        first=pd.Series([part.first for part in surveys]).min(),
        rfm=pd.concat([part.rfm for part in surveys], ignore_index=True),
        prices=_merge_prices([part.prices for part in surveys]),
        references=merge_references([part.references for part in surveys]),
    )


def unit_prices(lines: pd.DataFrame) -> Floats:
    """The price of one piece, of each line; NaN without a quantity, or where it is beyond all measure."""
    with np.errstate(over="ignore"):
        prices = lines["amount"].to_numpy() / lines["quantity"].to_numpy()
    return np.where(prices <= MAX_AMOUNT, prices, np.nan)


def _count_prices(lines: pd.DataFrame) -> pd.DataFrame:
    """By price as rounded: the count of lines and the least price."""
    prices = unit_prices(lines) if "quantity" in lines.columns else np.empty(0)
    prices = prices[~np.isnan(prices)]
    rounded = prices.view(np.int64) >> _PRICE_SHIFT
    return _merge_prices([pd.DataFrame({"count": 1, "least": prices}, index=rounded)])


def _merge_prices(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts).groupby(level=0).agg({"count": "sum", "least": "min"})


def _find_median(prices: pd.DataFrame) -> float:
    """The least of the prices around the middle one; NaN without lines."""
    if prices.empty:
        return float("nan")
    reached = prices["count"].cumsum().to_numpy()
    return float(prices["least"].iloc[int(np.searchsorted(reached, reached[-1] / 2))])
