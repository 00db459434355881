"""Transactions: tables of many layouts brought into one, and cleaned in steps that are counted.

One row is one line of a purchase. Columns: customer (text), time (datetime64
without a zone), amount (float64, above zero), invoice (text; the day where the
table has none), and where the table has them product, country (text) and
quantity (float64).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorewire_training.errors import TrainingError
from scorewire_training.input_table import read_table
from scorewire_training.training_result import CleaningStep

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
# What is no part of a text at its ends.
BLANKS = " \t\n\r\f\v"
_TIME_FORMATS = ("ISO8601", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y")
# Of a line. What is beyond is a fault, and would make features infinite.
MAX_AMOUNT = 1e12
_MAX_EXACT = 2**53
_MAX_UNREADABLE_SHARE = 0.05
_EXPECTED = (
    "it must have customer, time and amount (or unit_price and quantity), and may have "
    "invoice, product, quantity and country"
)


@dataclass(frozen=True, slots=True)
class Transactions:
    """Clean lines in the order of time, and what cleaning left out, step by step."""

    lines: pd.DataFrame
    steps: tuple[CleaningStep, ...]


def read_transactions(path: Path | None) -> Transactions:
    """Read and clean a table; without a path CDNOW, which the lifetimes package carries.

    Raises:
        TrainingError: the table cannot be read, lacks a column, or holds
            nothing that can be used.
    """
    return clean_transactions(_read_cdnow() if path is None else read_table(path))


def clean_transactions(table: pd.DataFrame) -> Transactions:
    """Bring a table into the one layout and leave out the lines that are no purchase.

    A step that the table has no column for is not among the steps; one that
    found nothing is.

    Raises:
        TrainingError: as for `read_transactions`.
    """
    transactions = clean_part(table)
    require_lines(transactions)
    lines = transactions.lines.sort_values(["time", "customer"], kind="stable", ignore_index=True)
    return Transactions(lines, transactions.steps)


def clean_part(table: pd.DataFrame) -> Transactions:
    """As `clean_transactions` on all lines of some customers; the lines in no order, maybe none.

    Raises:
        TrainingError: the table lacks a column, or holds too much that cannot be read.
    """
    columns = find_columns([str(column) for column in table.columns])
    lines = _read_columns(table, columns)
    steps: list[CleaningStep] = []

    def leave_out(name: str, reason: str, rows: pd.Series[bool]) -> None:
        nonlocal lines
        lines = lines[~rows]
        steps.append(CleaningStep(name=name, reason=reason, rows_taken=int(rows.sum()), rows_left=len(lines)))

    leave_out("customer", "no customer", lines["customer"].isna())
    leave_out("time", "time missing or unreadable", lines["time"].isna())
    if {"invoice", "product"} <= columns.keys():
        # Without an invoice two equal lines may well be two purchases.
        leave_out("duplicates", "the same line again", lines.duplicated())
    if "invoice" in columns:
        leave_out(
            "cancellations",
            "cancelled (invoice begins with C)",
            lines["invoice"].astype(object).str.startswith("C", na=False),
        )
    if "quantity" in columns:
        leave_out(
            "quantity",
            "quantity not above zero, or beyond all measure",
            (lines["quantity"] <= 0) | (lines["quantity"] > MAX_AMOUNT),
        )
    if "unit_price" in lines.columns:
        leave_out("price", "price not above zero", lines["unit_price"] <= 0)
        lines = lines.drop(columns="unit_price")
    leave_out(
        "amount",
        "amount missing, not above zero, or beyond all measure",
        ~((lines["amount"] > 0) & (lines["amount"] <= MAX_AMOUNT)),
    )
    lines["invoice"] = _name_invoices(lines)
    return Transactions(lines, tuple(steps))


def require_lines(transactions: Transactions) -> None:
    """Refuse a table of which nothing is left.

    Raises:
        TrainingError: nothing is; the message says what took the lines.
    """
    if not len(transactions.lines):
        taken = "; ".join(f"{step.rows_taken:,} left out: {step.reason}" for step in transactions.steps)
        raise TrainingError(f"no line is left after cleaning ({taken}): look at the table")


def find_columns(columns: Sequence[str]) -> dict[str, str]:
    """The table's known columns by our names for them.

    Raises:
        TrainingError: one is missing, or there twice.
    """
    found: dict[str, str] = {}
    keys = {column: column.lower().replace("_", "").replace(" ", "") for column in columns}
    for name, spellings in _NAMES.items():
        matches = [column for column, key in keys.items() if key in spellings]
        if len(matches) > 1:
            raise TrainingError(f"columns {' and '.join(matches)} are both the {name}: leave one out")
        if matches:
            found[name] = matches[0]
    missing = [name for name in ("customer", "time") if name not in found]
    if "amount" not in found and not {"unit_price", "quantity"} <= found.keys():
        missing.append("amount")
    if missing:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: {_EXPECTED}; it has {', '.join(keys)}"
        )
    return found


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


def _read_columns(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The table's known columns under our names, with our types; the unit price where it makes the amount."""
    lines = pd.DataFrame(index=table.index)
    for name in (name for name in columns if name in _TEXTS):
        lines[name] = _read_texts(table[columns[name]])
    lines["time"] = _read_times(table[columns["time"]])
    if "quantity" in columns:
        lines["quantity"] = _read_amounts(table[columns["quantity"]])
    if "amount" in columns:
        lines["amount"] = _read_amounts(table[columns["amount"]])
    else:
        lines["unit_price"] = _read_amounts(table[columns["unit_price"]])
        lines["amount"] = lines["unit_price"] * lines["quantity"]
    return lines


def _name_invoices(lines: pd.DataFrame) -> pd.Series[Any]:
    """The invoice of each line; the day where it has none."""
    named = lines["invoice"].notna() if "invoice" in lines.columns else pd.Series(False, index=lines.index)
    invoices: pd.Series[Any] = lines["time"][~named].dt.strftime("%Y-%m-%d").astype(object)
    if named.any():
        invoices = lines["invoice"].where(named, invoices)
    return invoices


def _read_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as Python objects, None where missing or blank; equal ones are one object."""
    if pd.api.types.is_float_dtype(column.dtype) and column.abs().max() > _MAX_EXACT:
        # Integers with a gap became floats on the way here, and some of them one.
        raise TrainingError(
            f"column {column.name} has numbers beyond 2^53 and missing ones, which cannot be told apart: "
            "write it as text"
        )
    codes, values = pd.factorize(column)
    if isinstance(values.dtype, pd.StringDtype):
        found = pd.Series(values).str.strip(BLANKS).to_list()
    else:
        found = [_to_text(value) for value in values]
    # The code of a missing value is -1, which is the last.
    texts = np.array([*(text or None for text in found), None], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def _to_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    # A column of integers with a gap is a column of floats in many a table.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(BLANKS)


def _read_amounts(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _check_readable(column, numbers, "a number like 12.50")
    return numbers


def _read_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times without a zone, those with one in UTC; of the known formats the one that reads most."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        times = pd.to_datetime(column, utc=True)
    else:
        texts = _read_texts(column)
        tried = [pd.to_datetime(texts, format=form, errors="coerce", utc=True) for form in _TIME_FORMATS]
        times = max(tried, key=lambda read: int(read.notna().sum()))
        _check_readable(column, times, "a time like 2011-09-10 08:30:00")
    return times.dt.tz_localize(None).dt.as_unit("us")


def _check_readable(column: pd.Series[Any], read: pd.Series[Any], example: str) -> None:
    odd = column.notna() & read.isna()
    if odd.mean() > _MAX_UNREADABLE_SHARE:
        raise TrainingError(
            f"{odd.mean():.0%} of column {column.name} cannot be read, {column[odd].iloc[0]!r} for one: "
            f"write each as {example}"
        )
