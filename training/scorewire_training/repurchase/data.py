"""Transactions: tables of many layouts read into one layout, and cleaned in counted steps.

One row is one line of a purchase. The columns are customer (text), time
(datetime64 without a zone), amount (float64, above zero) and invoice (text; the
day where the table has no invoice). product (text), country (text) and quantity
(float64) exist where the table has them.
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

# The accepted names of each column, in any case and with spaces or underscores. They
# include the names of UCI's Online Retail (352) and Online Retail II (502).
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
# Characters that are stripped from both ends of a text.
BLANKS = " \t\n\r\f\v"
_TIME_FORMATS = ("ISO8601", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y")
# The largest amount of a line. A larger one is an error in the data and would make features infinite.
MAX_AMOUNT = 1e12
_MAX_EXACT = 2**53
_MAX_UNREADABLE_SHARE = 0.05
_EXPECTED = (
    "it must have customer, time and amount (or unit_price and quantity), and may have "
    "invoice, product, quantity and country"
)


@dataclass(frozen=True, slots=True)
class Transactions:
    """Clean lines sorted by time, and the cleaning steps with the number of rows that each dropped."""

    lines: pd.DataFrame
    steps: tuple[CleaningStep, ...]


def read_transactions(path: Path | None) -> Transactions:
    """Read and clean a table; without a path, the CDNOW data of the package lifetimes.

    Raises:
        TrainingError: the table cannot be read, lacks a column, or has no line left
            after cleaning.
    """
    return clean_transactions(_read_cdnow() if path is None else read_table(path))


def clean_transactions(table: pd.DataFrame) -> Transactions:
    """Convert a table to the layout of this module and drop the lines that are not purchases.

    The steps list every cleaning step that the table has columns for, also those
    that dropped no row.

    Raises:
        TrainingError: as for `read_transactions`.
    """
    transactions = clean_part(table)
    require_lines(transactions)
    lines = transactions.lines.sort_values(["time", "customer"], kind="stable", ignore_index=True)
    return Transactions(lines, transactions.steps)


def clean_part(table: pd.DataFrame) -> Transactions:
    """Clean all lines of some customers; the result is not sorted and may be empty.

    Raises:
        TrainingError: the table lacks a column, or too many values of a column cannot be read.
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
        # Without invoices, two equal lines may be two purchases.
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
    """Check that cleaning left at least one line.

    Raises:
        TrainingError: no line is left; the message lists the steps that dropped lines.
    """
    if not len(transactions.lines):
        taken = "; ".join(f"{step.rows_taken:,} left out: {step.reason}" for step in transactions.steps)
        raise TrainingError(f"no line is left after cleaning ({taken}): look at the table")


def find_columns(columns: Sequence[str]) -> dict[str, str]:
    """Find the known columns of a table: the table's names by the names of this module.

    Raises:
        TrainingError: a required column is missing, or two columns have the same meaning.
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
    # Only its data file is needed: importing the package would import its dependencies.
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
    """The known columns with the names and types of this module; the unit price if it gives the amount."""
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
    """The invoice of each line; the day for a line without an invoice."""
    named = lines["invoice"].notna() if "invoice" in lines.columns else pd.Series(False, index=lines.index)
    invoices: pd.Series[Any] = lines["time"][~named].dt.strftime("%Y-%m-%d").astype(object)
    if named.any():
        invoices = lines["invoice"].where(named, invoices)
    return invoices


def _read_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as Python objects, None where missing or blank; equal texts share one object."""
    if pd.api.types.is_float_dtype(column.dtype) and column.abs().max() > _MAX_EXACT:
        # Integers with missing values became floats before, and large ones may have become equal.
        raise TrainingError(
            f"column {column.name} has numbers beyond 2^53 and missing ones, which cannot be told apart: "
            "write it as text"
        )
    codes, values = pd.factorize(column)
    if isinstance(values.dtype, pd.StringDtype):
        found = pd.Series(values).str.strip(BLANKS).to_list()
    else:
        found = [_to_text(value) for value in values]
    # The code of a missing value is -1, the last element.
    texts = np.array([*(text or None for text in found), None], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def _to_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    # In many tables, integers with missing values are stored as floats.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(BLANKS)


def _read_amounts(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _check_readable(column, numbers, "a number like 12.50")
    return numbers


def _read_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times without a zone, converted from UTC where they had one, in the format that reads most values."""
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
