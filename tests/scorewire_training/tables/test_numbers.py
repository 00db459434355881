from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.tables.notes import TableNote
from scorewire_training.tables.numbers import NumberInspector, NumberReading


def _decide(
    *columns: pd.Series, decimal: str | None = None, strict: bool = False
) -> tuple[NumberReading, dict[str, TableNote]]:
    inspector = NumberInspector(decimal)
    for column in columns:
        inspector.add(column)
    reading, notes = inspector.decide(strict=strict)
    return reading, {note.subject: note for note in notes}


def _texts(*values: object, name: str = "price") -> pd.Series:
    return pd.Series(values, dtype=object, name=name)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1.5", "1e3", ".5", "5."], [1.5, 1000, 0.5, 5]),
        (["1,5", "0,125", ",5", "1,5e2"], [1.5, 0.125, 0.5, 150]),
        (["1,234.5", "1,234,567"], [1234.5, 1_234_567]),
        (["1.234,5", "1.234.567", "-1.234"], [1234.5, 1_234_567, -1234]),
        (["1\u202f234,50", "1 234", "1\u00a0234\u00a0567"], [1234.5, 1234, 1_234_567]),
        (["1'234.50", "1\u2019234"], [1234.5, 1234]),
        (["1,234", "0.5"], [1234, 0.5]),
        (["1.234", "0,5"], [1234, 0.5]),
    ],
)
def test_numbers_are_read_with_the_mark_that_all_of_them_allow(texts: list[str], wanted: list[float]) -> None:
    column = _texts(*texts)
    assert _decide(column)[0].read(column).tolist() == wanted


def test_one_mark_holds_for_all_columns_and_parts() -> None:
    first, second, other = _texts("1,234", "2"), _texts("7"), _texts("0,5", name="total")
    reading, notes = _decide(first, second, other)
    assert reading.read(first).tolist() == [1.234, 2]
    assert notes["decimal mark"] == TableNote("decimal mark", "a comma", "settled by '0,5' (row 1) of total")


@pytest.mark.parametrize(("text", "point", "comma"), [("1,234", 1234, 1.234), ("12.345", 12.345, 12345)])
def test_numbers_with_two_readings_are_refused_until_the_mark_is_given(
    text: str, point: float, comma: float
) -> None:
    column = _texts("1", text)
    with pytest.raises(TrainingError) as caught:
        _decide(column)
    message = str(caught.value)
    assert f"column price have 2 readings: {text!r} (row 2) is {point:g} (decimal .)" in message
    assert f"{comma:g} (decimal ,)" in message
    assert "pass --decimal . or --decimal ," in message
    for mark, number in ((".", point), (",", comma)):
        assert _decide(column, decimal=mark)[0].read(column).tolist() == [1, number]


def test_thousands_are_told() -> None:
    notes = _decide(_texts("1.5", "12,345.75"))[1]
    assert notes["thousands"].values == "'12,345.75' (row 2) of price is 12345.75"


def test_points_and_commas_together_are_refused() -> None:
    with pytest.raises(TrainingError) as caught:
        _decide(_texts("1", "2.5"), _texts("2,5", name="total"))
    assert "column price has '2.5' (row 2), column total has '2,5' (row 1)" in str(caught.value)
    reading, notes = _decide(_texts(*["2.5"] * 30, "2,5"), decimal=".")
    assert reading.read(_texts("2,5")).isna().all()
    assert notes["unreadable price"].values == "'2,5' (row 31)"


@pytest.mark.parametrize(
    "text", ["$5", "5 €", "1,23,456", "12.34.56", "1 234.567,8", "inf", "nan", "0x1A", "1_0"]
)
def test_values_that_are_no_numbers_are_refused_with_their_rows(text: str) -> None:
    with pytest.raises(TrainingError, match=r"50% of column price cannot be read, .* \(row 2\)"):
        _decide(_texts("1", text))
    with pytest.raises(
        TrainingError, match=r"column price has .*, which is not a finite number: .* \(row 99\)"
    ):
        _decide(_texts(*["1"] * 98, text, None), strict=True)


def test_numbers_of_the_file_stay_as_they_are() -> None:
    column = pd.Series([1.5, np.nan, 3], name="price")
    reading, notes = _decide(column)
    assert notes == {}
    np.testing.assert_array_equal(reading.read(column), column)


def test_decimals_of_a_file_are_numbers_and_not_texts() -> None:
    column = pd.Series([Decimal("1.500"), None, Decimal("2.250")], dtype=object, name="price")
    reading, notes = _decide(column)
    assert notes == {}
    np.testing.assert_array_equal(reading.read(column), [1.5, np.nan, 2.25])


def test_an_infinite_number_of_a_file_is_refused_where_every_number_counts() -> None:
    column = pd.Series([1.0, np.nan, -np.inf], name="price")
    assert _decide(column)[0].read(column).tolist()[2] == -np.inf
    with pytest.raises(TrainingError, match=r"price has '-inf', which is not a finite number: .* \(row 3\)"):
        _decide(column, strict=True)


def test_the_option_that_leaves_values_out_is_named_only_where_it_would_help() -> None:
    column = _texts("1,5", "1.5")
    with pytest.raises(TrainingError, match="correct them, or pass --decimal to leave the others out"):
        _decide(column)
    with pytest.raises(TrainingError, match="correct them$"):
        _decide(column, strict=True)
