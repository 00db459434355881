"""Tables that are written at random are read as they were meant, or refused where they have two readings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase.data import read_transactions
from scorewire_training.tables.settings import TableSettings

ORDERS = ("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%y/%m/%d", "%d/%m/%y", "%m/%d/%y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p")
COLUMNS = {"customer": "Cliente", "time": "when"}


def _is_read_otherwise(texts: list[str], order: str, separator: str, clock: str) -> bool:
    """Whether another order reads all texts, and one of them as another day."""
    meant = [datetime.strptime(text, order.replace("/", separator) + clock) for text in texts]
    for other in ORDERS:
        # strptime takes 1/2/11 as a year, a month and a day; a year has two digits.
        if other[:2] == "%y" and not all(text[1].isdigit() for text in texts):
            continue
        try:
            if [datetime.strptime(text, other.replace("/", separator) + clock) for text in texts] != meant:
                return True
        except ValueError:
            continue
    return False


def _write_number(number: float, decimal: str, grouped: bool) -> str:
    text = f"{number:,.3f}" if grouped else f"{number:g}"
    return text if decimal == "." else text.translate(str.maketrans(".,", ",."))


@pytest.mark.parametrize("seed", range(80))
def test_a_table_is_read_as_it_was_meant_or_refused(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    minutes = rng.integers(0, 1440 * int(rng.choice([12, 40, 700])), count)
    times = pd.Timestamp("2011-01-01") + pd.to_timedelta(minutes, "m")
    order, separator, clock = str(rng.choice(ORDERS)), str(rng.choice(list("/.-"))), str(rng.choice(CLOCKS))
    date_format, decimal, grouped = (
        order.replace("/", separator) + clock,
        str(rng.choice([".", ","])),
        bool(seed % 3),
    )
    texts = [time.strftime(date_format) for time in times]
    numbers = [
        _write_number(number, decimal, grouped) for number in np.round(rng.lognormal(4, 2, count) + 1, 2)
    ]
    table = pd.DataFrame(
        {
            "Cliente": [f"ñ;{customer}" for customer in rng.integers(0, 5, count)],
            "when": texts,
            "total": numbers,
            "note": rng.choice(['a\n"b"', "x,y", "1\t2|3"], count),
        }
    )
    path = tmp_path / "table.csv"
    table.to_csv(
        path,
        index=False,
        sep=str(rng.choice(list(",;\t|"))),
        encoding=str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"])),
        lineterminator=str(rng.choice(["\n", "\r\n"])),
    )
    refusal = ""
    try:
        lines = read_transactions(path, TableSettings(columns=COLUMNS)).lines
    except TrainingError as error:
        refusal = str(error)
        settings = TableSettings(columns=COLUMNS, date_format=date_format, decimal=decimal)
        lines = read_transactions(path, settings).lines
    if "the dates of" in refusal:
        assert _is_read_otherwise(texts, order, separator, clock)
    elif refusal:
        assert "the numbers of column total have 2 readings" in refusal
        # Every number is whole, or has one mark before its last three digits.
        assert all(len(text) - text.find(mark) == 4 for text in numbers for mark in ",." if mark in text)
    back = str.maketrans(",.", ".,") if decimal == "," else {}
    amounts = [float(text.translate(back).replace(",", "")) for text in numbers]
    meant = pd.DataFrame(
        {
            "customer": table["Cliente"],
            "time": pd.to_datetime(table["when"], format=date_format).dt.as_unit("us"),
            "amount": amounts,
        }
    ).sort_values(["time", "customer"], kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(lines[list(meant)], meant, check_dtype=False, check_exact=True)
