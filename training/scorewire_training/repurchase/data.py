"""Transactions: tables of many layouts brought into one, and cleaned in steps that are counted.

One row is one line of a purchase. Columns: customer (text), time (datetime64
without a zone), amount (float64, above zero), invoice (text; the day where the
table has none), and where the table has them product, country (text) and
quantity (float64).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorewire_training.errors import TrainingError
from scorewire_training.tables import read_table

# What a column may be called, in any case and with spaces or underscores. The
# names of UCI's Online Retail (352) and Online Retail II (502) are among them.
_NAMES = {
    "customer": ("customer", "customerid"),
    "time": ("time", "date", "datetime", "timestamp", "invoicedate", "orderdate"),
    "amount": ("amount", "total", "dollarvalue"),
    "unit_price": ("unitprice", "price"),
    "quantity": ("quantity", "numberofcds"),
    "product": ("product", "productid", "stockcode"),
    "country": ("country",),
    "invoice": ("invoice", "invoiceno", "invoiceid", "order", "orderid"),
}
_TEXTS = ("customer", "invoice", "product", "country")
_TIME_FORMATS = ("ISO8601", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y")
_MAX_UNREADABLE_SHARE = 0.05
_EXPECTED = (
    "it must have customer, time and amount (or unit_price and quantity), and may have "
    "invoice, product, quantity and country"
)


@dataclass(frozen=True, slots=True)
class Transactions:
    """Clean lines in the order of time, and what cleaning left out, step by step."""

    lines: pd.DataFrame
    notes: tuple[str, ...]


def read_transactions(path: Path | None) -> Transactions:
    """Read and clean a table; without a path CDNOW, which the lifetimes package carries.

    Raises:
        TrainingError: the table cannot be read, lacks a column, or holds
            nothing that can be used.
    """
    if path is None:
        return clean_transactions(_read_cdnow())
    return clean_transactions(read_table(path))


def clean_transactions(table: pd.DataFrame) -> Transactions:
    """Bring a table into the one layout and leave out the lines that are no purchase.

    Raises:
        TrainingError: as for `read_transactions`.
    """
    lines = _name_columns(table)
    notes = [f"{len(lines):,} lines"]

    def leave_out(what: str, rows: pd.Series[bool]) -> None:
        nonlocal lines
        if count := int(rows.sum()):
            notes.append(f"{count:,} left out: {what}")
            lines = lines[~rows]

    leave_out("no customer", lines["customer"].isna())
    leave_out("time missing or unreadable", lines["time"].isna())
    if {"invoice", "product"} <= set(lines.columns):
        # Without an invoice two equal lines may well be two purchases.
        leave_out("the same line again", lines.duplicated())
    if "invoice" in lines.columns:
        leave_out("cancelled (invoice begins with C)", lines["invoice"].str.startswith("C", na=False))
    leave_out("amount missing, or not above zero", ~(lines["amount"] > 0) | np.isinf(lines["amount"]))
    if not len(lines):
        raise TrainingError(f"no line is left after cleaning ({'; '.join(notes)}): look at the table")
    day = lines["time"].dt.strftime("%Y-%m-%d")
    lines["invoice"] = lines["invoice"].fillna(day) if "invoice" in lines.columns else day
    lines = lines.sort_values(["time", "customer"], kind="stable", ignore_index=True)
    notes.append(
        f"{len(lines):,} lines of {lines['customer'].nunique():,} customers remain, "
        f"{lines['time'].iloc[0].date()} to {lines['time'].iloc[-1].date()}"
    )
    return Transactions(lines, tuple(notes))


def _read_cdnow() -> pd.DataFrame:
    """CDNOW: 69,659 purchases of 23,570 customers, 1997-01 to 1998-06."""
    # The file is wanted, not the package: importing it would drag in its own stack.
    spec = importlib.util.find_spec("lifetimes")
    if spec is None or spec.origin is None:
        raise TrainingError(
            "the default data comes with the package lifetimes: pip install 'scorewire-training[demo]', "
            "or pass a table of your own"
        )
    path = Path(spec.origin).parent / "datasets" / "CDNOW_master.txt"
    try:
        return pd.read_csv(path, sep=r"\s+", dtype=str)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}; pass a table of your own") from None


def _name_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table's known columns under our names, with our types."""
    found: dict[str, str] = {}
    keys = {str(column): str(column).lower().replace("_", "").replace(" ", "") for column in table.columns}
    for name, spellings in _NAMES.items():
        columns = [column for column, key in keys.items() if key in spellings]
        if len(columns) > 1:
            raise TrainingError(f"columns {' and '.join(columns)} are both the {name}: leave one out")
        if columns:
            found[name] = columns[0]
    missing = [name for name in ("customer", "time") if name not in found]
    if "amount" not in found and not {"unit_price", "quantity"} <= found.keys():
        missing.append("amount")
    if missing:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: {_EXPECTED}; it has {', '.join(keys)}"
        )
    lines = pd.DataFrame(index=table.index)
    for name, column in found.items():
        if name in _TEXTS:
            # object, so that a missing text is None or NaN and never the text "nan".
            texts = table[column].astype(object)
            lines[name] = texts.where(texts.isna(), texts.map(_to_text)).replace("", None)
    lines["time"] = _read_times(table[found["time"]])
    if "quantity" in found:
        lines["quantity"] = _read_amounts(table[found["quantity"]])
    if "amount" in found:
        lines["amount"] = _read_amounts(table[found["amount"]])
    else:
        lines["amount"] = _read_amounts(table[found["unit_price"]]) * lines["quantity"]
    return lines


def _to_text(value: object) -> str:
    # A column of integers with a gap is a column of floats in many a table.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _read_amounts(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _check_readable(column, numbers, "a number like 12.50")
    return numbers


def _read_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times without a zone, those with one in UTC; of the known formats the one that reads most."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        times = pd.to_datetime(column, utc=True)
    else:
        texts = column.astype(object).where(column.notna(), None).map(_to_text, na_action="ignore")
        tried = [pd.to_datetime(texts, format=form, errors="coerce", utc=True) for form in _TIME_FORMATS]
        times = max(tried, key=lambda read: int(read.notna().sum()))
        _check_readable(column, times, "a time like 2011-09-10 08:30:00")
    return times.dt.tz_localize(None)


def _check_readable(column: pd.Series[Any], read: pd.Series[Any], example: str) -> None:
    odd = column.notna() & read.isna()
    if odd.mean() > _MAX_UNREADABLE_SHARE:
        raise TrainingError(
            f"{odd.mean():.0%} of column {column.name} cannot be read, {column[odd].iloc[0]!r} for one: "
            f"write each as {example}"
        )
