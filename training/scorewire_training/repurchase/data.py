"""Transactions: tables of many layouts read into one layout, and cleaned in counted steps.

One row is one line of a purchase. The columns are customer (text), time
(datetime64 without a zone), amount (float64, above zero) and invoice (text; the
day where the table has no invoice). product (text), country (text) and quantity
(float64) exist where the table has them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scorewire_training.errors import TrainingError
from scorewire_training.tables.columns import explain_option, list_names, match_columns
from scorewire_training.tables.files import open_table
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.reading import TableInspector, TableReading
from scorewire_training.tables.settings import TableSettings
from scorewire_training.tables.texts import read_texts
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
_NUMBERS = ("quantity", "amount", "unit_price")
# The largest amount of a line. A larger one is an error in the data and would make features infinite.
MAX_AMOUNT = 1e12
_EXPECTED = (
    "it must have customer, time and amount (or unit_price and quantity), and may have "
    "invoice, product, quantity and country"
)


@dataclass(frozen=True, slots=True)
class Transactions:
    """Clean lines sorted by time, the cleaning steps with the rows that each dropped, and how it was read."""

    lines: pd.DataFrame
    steps: tuple[CleaningStep, ...]
    notes: tuple[TableNote, ...] = ()


def read_transactions(path: Path | None, settings: TableSettings | None = None) -> Transactions:
    """Read and clean a table; without a path, the CDNOW data of the package lifetimes.

    Args:
        path: the table, .csv or .parquet.
        settings: how it is written; None finds everything out.

    Raises:
        TrainingError: the table cannot be read, lacks a column, has values with two
            readings, or has no line left after cleaning.
    """
    settings = settings or TableSettings()
    if path is None:
        return clean_transactions(read_cdnow(), settings)
    file = open_table(path, settings)
    columns = find_columns(file.columns, settings)
    return _clean(file.read(list(columns.values())), inspect_lines(columns, settings), file.notes)


def clean_transactions(table: pd.DataFrame, settings: TableSettings | None = None) -> Transactions:
    """Convert a table to the layout of this module and drop the lines that are not purchases.

    The steps list every cleaning step that the table has columns for, also those
    that dropped no row.

    Raises:
        TrainingError: as for `read_transactions`.
    """
    settings = settings or TableSettings()
    columns = find_columns([str(column) for column in table.columns], settings)
    return _clean(table, inspect_lines(columns, settings), ())


def _clean(table: pd.DataFrame, inspector: TableInspector, notes: tuple[TableNote, ...]) -> Transactions:
    inspector.add(table)
    reading = inspector.decide(notes)
    transactions = clean_part(table, reading)
    require_lines(transactions)
    lines = transactions.lines.sort_values(["time", "customer"], kind="stable", ignore_index=True)
    period = note_period(lines["time"].iloc[0], lines["time"].iloc[-1])
    return Transactions(lines, transactions.steps, (*reading.notes, period))


def inspect_lines(columns: dict[str, str], settings: TableSettings) -> TableInspector:
    """An inspector of the lines of a table with these columns."""
    return TableInspector(columns, settings, numbers=_NUMBERS, times="time")


def day_after(lines: pd.DataFrame) -> pd.Timestamp:
    """The day after the last line: the cutoff to score customers as they are now."""
    last: pd.Timestamp = lines["time"].max()
    return last.normalize() + pd.Timedelta(days=1)


def note_period(first: pd.Timestamp, last: pd.Timestamp) -> TableNote:
    """The period of the clean lines."""
    return TableNote("period", f"{first.date()} to {last.date()}, after cleaning")


def clean_part(table: pd.DataFrame, reading: TableReading) -> Transactions:
    """Clean all lines of some customers; the result is not sorted and may be empty."""
    lines = _read_columns(table, reading)
    steps: list[CleaningStep] = []

    def leave_out(name: str, reason: str, rows: pd.Series[bool]) -> None:
        nonlocal lines
        lines = lines[~rows]
        steps.append(CleaningStep(name=name, reason=reason, rows_taken=int(rows.sum()), rows_left=len(lines)))

    leave_out("customer", "no customer", lines["customer"].isna())
    leave_out("time", "time missing or unreadable", lines["time"].isna())
    if {"invoice", "product"} <= reading.columns.keys():
        # Without invoices, two equal lines may be two purchases.
        leave_out("duplicates", "the same line again", lines.duplicated())
    if "invoice" in reading.columns:
        leave_out(
            "cancellations",
            "cancelled (invoice begins with C)",
            lines["invoice"].astype(object).str.startswith("C", na=False),
        )
    if "quantity" in reading.columns:
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


def find_columns(columns: Sequence[str], settings: TableSettings | None = None) -> dict[str, str]:
    """Find the known columns of a table: the table's names by the names of this module.

    Raises:
        TrainingError: a required column is missing, two columns have the same meaning,
            or a column that the settings give does not exist.
    """
    given = settings.columns if settings else {}
    found = match_columns(columns, _NAMES, given)
    missing = [name for name in ("customer", "time") if name not in found]
    if {"amount", "unit_price"} <= found.keys():
        # Either gives the amount of a line: the one that is given, or else the amount.
        found.pop("amount" if "unit_price" in given and "amount" not in given else "unit_price")
    if "amount" not in found and not {"unit_price", "quantity"} <= found.keys():
        missing.append("amount")
    if missing:
        raise TrainingError(
            f"the table has no column {', '.join(missing)}: {_EXPECTED}; it has {list_names(columns)}; "
            f"{explain_option(missing[0], columns)}"
        )
    return found


def read_cdnow() -> pd.DataFrame:
    """CDNOW: 69,659 purchases of 23,570 customers, 1997-01 to 1998-06.

    Raises:
        TrainingError: the package lifetimes is not installed.
    """
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


def _read_columns(table: pd.DataFrame, reading: TableReading) -> pd.DataFrame:
    """The known columns with the names and types of this module; the unit price if it gives the amount."""
    lines, columns = pd.DataFrame(index=table.index), reading.columns
    for name in (name for name in columns if name in _TEXTS):
        lines[name] = read_texts(table[columns[name]])
    lines["time"] = reading.dates.read(table[columns["time"]])
    for name in (name for name in _NUMBERS if name in columns):
        lines[name] = reading.numbers.read(table[columns[name]])
    if "unit_price" in columns:
        lines["amount"] = lines["unit_price"] * lines["quantity"]
    return lines


def _name_invoices(lines: pd.DataFrame) -> pd.Series[Any]:
    """The invoice of each line; the day for a line without an invoice."""
    named = lines["invoice"].notna() if "invoice" in lines.columns else pd.Series(False, index=lines.index)
    invoices: pd.Series[Any] = lines["time"][~named].dt.strftime("%Y-%m-%d").astype(object)
    if named.any():
        invoices = lines["invoice"].where(named, invoices)
    return invoices
