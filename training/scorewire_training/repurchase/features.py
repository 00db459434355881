"""Features of customers before a cutoff, and labels from after it.

1. `read_history` drops every line from the cutoff on before any feature is built,
   so no feature can use the future. Only `build_labels` reads it.
2. Features are built in two steps: the statistics of the whole shop
   (`repurchase.shop_statistics`), then the features of each customer. Both steps
   work on any part of the customers, so that `repurchase.streaming` can build
   tables larger than memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.repurchase.grouping import Floats, Groups, divide
from scorewire_training.repurchase.history import RFM, History, read_history
from scorewire_training.repurchase.segments import name_segments
from scorewire_training.repurchase.shop_statistics import ShopStatistics, collect_statistics, unit_prices

COUNTRY = "country"
SEGMENT = "segment"
TEXTS = (SEGMENT, COUNTRY)
_WINDOWS_DAYS = (30, 60, 90)
_QUARTERS = (1, 2, 3, 4)

DESCRIPTIONS = {
    "recency_days": "days from the last purchase to the cut",
    "tenure_days": "days from the first purchase to the cut",
    "frequency": "purchases",
    "monetary": "amount of all purchases",
    "mean_amount": "mean amount of a purchase",
    "amount_spread": "standard deviation of the amounts of purchases; missing before the second",
    "last_amount": "amount of the last purchase",
    "recency_score": "fifth of the customers by recency, 5 bought latest",
    "frequency_score": "fifth of the customers by frequency, 5 bought most often",
    "monetary_score": "fifth of the customers by amount, 5 spent most",
    SEGMENT: "segment by the scores of recency and frequency",
    "mean_gap_days": "mean of the days between purchases; missing before the second",
    "gap_spread_days": "standard deviation of the days between purchases; missing before the third",
    "last_gap_days": "days between the last two purchases; missing before the second",
    "recency_per_gap": "recency as a multiple of the mean gap (of a day at least); missing before the second",
    "frequency_per_30_days": "purchases per 30 days of tenure (of a day at least)",
    "monetary_per_day": "amount per day of tenure (of a day at least)",
    **{f"frequency_{days}_days": f"purchases in the {days} days before the cut" for days in _WINDOWS_DAYS},
    **{f"monetary_{days}_days": f"amount in the {days} days before the cut" for days in _WINDOWS_DAYS},
    **{
        f"frequency_trend_{days}_days": f"purchases per day of the last {days} days, as a multiple of those "
        "per day of tenure before; missing where nothing was bought before"
        for days in _WINDOWS_DAYS
    },
    **{
        f"monetary_trend_{days}_days": f"amount per day of the last {days} days, as a multiple of that "
        "per day of tenure before; missing where nothing was bought before"
        for days in _WINDOWS_DAYS
    },
    "active_months": "calendar months with a purchase",
    "weekend_share": "share of purchases on Saturday or Sunday",
    "usual_weekday_share": "share of purchases on the weekday with most",
    **{
        f"quarter_{quarter}_share": "share of the purchases of the year before the cut "
        f"in quarter {quarter}; "
        "missing without a purchase in that year, or where the shop has no year of history"
        for quarter in _QUARTERS
    },
    "same_season_share": "share of the purchases of the year before the cut in the season of the horizon; "
    "missing without a purchase in that year, or where the shop has no year of history",
    "quantity": "pieces bought; missing where no line says",
    "quantity_per_purchase": "pieces of a purchase; missing where no line says",
    "mean_price": "mean price of a piece over lines; missing where no line says",
    "price_spread": "standard deviation of the price of a piece over lines; missing below two",
    "cheap_share": "share of lines below half the shop's median price",
    "expensive_share": "share of lines above twice the shop's median price",
    "products": "different products bought; missing where no line says",
    "products_per_purchase": "different products of a purchase; missing where no line says",
    "repeat_product_share": "share of the different products that were in more than one purchase; "
    "missing where no line says",
    "peer_repurchase": "share of the customers nearest in RFM at earlier cuts who bought within the horizon; "
    "missing where the shop is too young",
    COUNTRY: "country of the last purchase, the last one that is known",
}


def build_features(lines: pd.DataFrame, cutoff: pd.Timestamp, *, horizon_days: int) -> pd.DataFrame:
    """Features at the cutoff, one row for each customer with a purchase before it.

    Args:
        lines: clean lines (`repurchase.data`).
        cutoff: only lines before it are read.
        horizon_days: the horizon of the label in days; it decides which season lies
            ahead and how old the labels of similar customers must be. No label
            after the cutoff is read.

    Returns:
        Index customer, ascending; columns as in DESCRIPTIONS, in that order, those
        of quantity, product and country only where the lines have them. segment and
        country are text with "" for missing, all others float64 with NaN for missing.
    """
    history = read_history(lines, cutoff)
    return describe_customers(
        history, ShopStatistics.of(collect_statistics(history, horizon_days), horizon_days)
    )


def build_labels(
    lines: pd.DataFrame, customers: pd.Index[str], cutoff: pd.Timestamp, horizon_days: int
) -> NDArray[np.int64]:
    """1 for each customer who buys within the horizon from the cutoff on, else 0; shape [customers]."""
    after = lines[(lines["time"] >= cutoff) & (lines["time"] < cutoff + pd.Timedelta(days=horizon_days))]
    return customers.isin(after["customer"]).astype(np.int64)


def describe_customers(history: History, shop: ShopStatistics) -> pd.DataFrame:
    """Features of the customers of a part of the shop, as `build_features` returns them."""
    columns: dict[str, NDArray[Any]] = {
        **_describe_purchases(history),
        **_describe_trend(history),
        **_describe_season(history, shop),
    }
    columns |= _score(columns, shop)
    if "quantity" in history.lines.columns:
        columns |= _describe_prices(history, shop.median_price)
    if "product" in history.lines.columns:
        columns |= _describe_baskets(history)
    if COUNTRY in history.lines.columns:
        columns[COUNTRY] = _find_countries(history)
    features = pd.DataFrame(
        {name: columns[name] for name in DESCRIPTIONS if name in columns}, index=history.customers
    )
    return features.astype({name: object for name in TEXTS if name in columns})


def _describe_purchases(history: History) -> dict[str, Floats]:
    groups = history.group_purchases()
    age = history.purchases["age_days"].to_numpy()
    amount = history.purchases["amount"].to_numpy()
    recency, tenure = groups.last(age), groups.first(age)
    frequency, monetary = groups.count(), groups.sum(amount)
    customer = history.purchases["customer"].to_numpy()
    again = np.append(False, customer[1:] == customer[:-1])[: len(customer)]
    # Days since the previous purchase of the same customer.
    gap = np.where(again, np.roll(age, 1) - age, np.nan)
    gaps = groups.where(again)
    mean_gap = gaps.mean(gap[again])
    days = np.maximum(tenure, 1)
    return {
        "recency_days": recency,
        "tenure_days": tenure,
        "frequency": frequency,
        "monetary": monetary,
        "mean_amount": groups.mean(amount),
        "amount_spread": groups.spread(amount),
        "last_amount": groups.last(amount),
        "mean_gap_days": mean_gap,
        "gap_spread_days": gaps.spread(gap[again]),
        "last_gap_days": groups.last(gap),
        "recency_per_gap": recency / np.maximum(mean_gap, 1),
        "frequency_per_30_days": frequency / days * 30,
        "monetary_per_day": monetary / days,
    }


def _score(columns: dict[str, Floats], shop: ShopStatistics) -> dict[str, NDArray[Any]]:
    recency = shop.recency.score(-columns["recency_days"])
    frequency = shop.frequency.score(columns["frequency"])
    scores: dict[str, NDArray[Any]] = {
        "recency_score": recency,
        "frequency_score": frequency,
        "monetary_score": shop.monetary.score(columns["monetary"]),
        SEGMENT: name_segments(recency, frequency),
    }
    rfm = pd.DataFrame({name: columns[name] for name in RFM})
    scores["peer_repurchase"] = (
        np.full(len(rfm), np.nan) if shop.similar is None else shop.similar.repurchase(rfm)
    )
    return scores


def _describe_trend(history: History) -> dict[str, Floats]:
    groups = history.group_purchases()
    age = history.purchases["age_days"].to_numpy()
    amount = history.purchases["amount"].to_numpy()
    tenure = groups.first(age)
    columns: dict[str, Floats] = {}
    for window in _WINDOWS_DAYS:
        recent = age <= window
        now, before = groups.where(recent), groups.where(~recent)
        days_before = np.maximum(tenure - window, 1)
        for name, new, old in (
            ("frequency", now.count(), before.count()),
            ("monetary", now.sum(amount[recent]), before.sum(amount[~recent])),
        ):
            columns[f"{name}_{window}_days"] = new
            columns[f"{name}_trend_{window}_days"] = divide(new / window, old / days_before)
    return columns


def _describe_season(history: History, shop: ShopStatistics) -> dict[str, Floats]:
    groups = history.group_purchases()
    time = history.purchases["time"]
    weekday = time.dt.day_of_week.to_numpy()
    days, visits = groups.tally(weekday)
    months, _ = groups.tally((time.dt.year * 12 + time.dt.month).to_numpy())
    return {
        "active_months": months.count(),
        "weekend_share": groups.mean(weekday >= 5),
        "usual_weekday_share": days.maximum(visits) / groups.count(),
        **_describe_last_year(history, shop),
    }


def _describe_last_year(history: History, shop: ShopStatistics) -> dict[str, Floats]:
    """Shares by season; with less than a year of data they would tell the cutoff, not a habit."""
    year_ago = history.cutoff - pd.DateOffset(years=1)
    season_end = year_ago + pd.Timedelta(days=shop.horizon_days)
    known = shop.first <= year_ago
    last_year = (history.purchases["time"] >= year_ago).to_numpy() & known
    groups = history.group_purchases().where(last_year)
    time = history.purchases["time"][last_year]
    return {
        **{
            f"quarter_{quarter}_share": groups.mean((time.dt.quarter == quarter).to_numpy())
            for quarter in _QUARTERS
        },
        "same_season_share": groups.mean((time < season_end).to_numpy()),
    }


def _describe_prices(history: History, median_price: float) -> dict[str, Floats]:
    quantity, price = history.lines["quantity"].to_numpy(), unit_prices(history.lines)
    counted, priced = ~np.isnan(quantity), ~np.isnan(price)
    lines = history.group_lines()
    pieces = lines.where(counted).sum(quantity[counted])
    pieces[lines.where(counted).count() == 0] = np.nan
    groups, price = lines.where(priced), price[priced]
    return {
        "quantity": pieces,
        "quantity_per_purchase": pieces / history.group_purchases().count(),
        "mean_price": groups.mean(price),
        "price_spread": groups.spread(price),
        "cheap_share": groups.mean(price < median_price / 2),
        "expensive_share": groups.mean(price > median_price * 2),
    }


def _describe_baskets(history: History) -> dict[str, Floats]:
    items = history.lines.loc[history.lines["product"] >= 0, ["customer", "invoice", "product"]]
    # A product on two lines of one invoice was bought once.
    items = items.drop_duplicates()
    groups = Groups(items["customer"].to_numpy(), len(history.customers))
    products, times = groups.tally(items["product"].to_numpy())
    known = groups.count() > 0
    return {
        "products": np.where(known, products.count(), np.nan),
        "products_per_purchase": np.where(known, groups.count() / history.group_purchases().count(), np.nan),
        "repeat_product_share": products.mean(times > 1),
    }


def _find_countries(history: History) -> NDArray[np.object_]:
    country = history.lines[COUNTRY]
    last = country.groupby(history.lines["customer"]).last()
    found: NDArray[np.object_] = last.where(last.notna(), "").to_numpy(dtype=object)
    return found
