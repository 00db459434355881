from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.repurchase.data import clean_transactions, read_transactions
from scorewire_training.tables.settings import TableSettings


def _online_retail(**changes: list[object]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "InvoiceNo": ["1", "1", "1", "C2", "3", "4", "5"],
        "StockCode": ["a", "b", "b", "a", "a", "a", "a"],
        "Description": ["A", "B", "B", "A", "A", "A", "A"],
        "Quantity": [2, 1, 1, -2, 3, 1, 1],
        "InvoiceDate": pd.to_datetime(["2011-01-05 08:26"] * 3 + ["2011-01-06 00:00"] * 4).to_list(),
        "UnitPrice": [2.5, 1.0, 1.0, 2.5, 2.0, 0.0, 1.0],
        "CustomerID": [17850, 17850, 17850, 17850, 12583, 12583, None],
        "Country": ["France"] * 7,
    }
    table = pd.DataFrame(columns | changes)
    if "CustomerID" not in changes:
        table["CustomerID"] = table["CustomerID"].astype("Int32")
    return table


def test_online_retail_is_recognised_and_each_cleaning_step_is_counted() -> None:
    table = pd.concat([_online_retail(), _online_retail(InvoiceNo=["6"] * 7, Quantity=[0] * 7).head(1)])
    cleaned = clean_transactions(table)
    assert [(step.name, step.rows_taken, step.rows_left) for step in cleaned.steps] == [
        ("customer", 1, 7),
        ("time", 0, 7),
        ("duplicates", 1, 6),
        ("cancellations", 1, 5),
        ("quantity", 1, 4),
        ("price", 1, 3),
        ("amount", 0, 3),
    ]
    assert all(step.reason for step in cleaned.steps)
    assert cleaned.lines["amount"].tolist() == [5.0, 1.0, 6.0]
    assert cleaned.lines["customer"].tolist() == ["17850", "17850", "12583"]
    assert cleaned.lines["invoice"].tolist() == ["1", "1", "3"]
    assert cleaned.lines["country"].tolist() == ["France"] * 3


def test_the_second_online_retail_layout_is_recognised() -> None:
    table = _online_retail().rename(
        columns={"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}
    )
    assert clean_transactions(table).lines["amount"].tolist() == [5.0, 1.0, 6.0]


def test_customers_as_bytes_are_texts() -> None:
    table = _online_retail(CustomerID=[b"a", b"a", b"a", b"a", b"b", b"b", None])
    assert clean_transactions(table).lines["customer"].tolist() == ["a", "a", "b"]


def test_customers_that_became_one_as_floats_are_refused() -> None:
    for customer in (2.0**60, float(2**53 + 1)):
        table = _online_retail(CustomerID=[customer] * 6 + [None])
        with pytest.raises(
            TrainingError, match=r"CustomerID has floats of 2\^53 or more, .* write it as text"
        ):
            clean_transactions(table)


@pytest.mark.parametrize("customer", [["a"], {"id": "a"}])
def test_customers_that_are_nested_values_are_refused(customer: object) -> None:
    with pytest.raises(TrainingError, match="column CustomerID has values of several parts, such as lists"):
        clean_transactions(_online_retail(CustomerID=[customer] * 7))


def test_amounts_and_quantities_beyond_all_measure_are_left_out() -> None:
    table = pd.DataFrame(
        {
            "customer": list("abcd"),
            "time": ["2020-01-01"] * 4,
            "amount": [1.0, 2e12, np.inf, 1],
            "quantity": [1, 1, 1, np.inf],
        }
    )
    cleaned = clean_transactions(table)
    assert cleaned.lines["customer"].tolist() == ["a"]
    taken = {step.name: step.rows_taken for step in cleaned.steps}
    assert (taken["quantity"], taken["amount"]) == (1, 2)


def test_customers_read_as_floats_are_whole_numbers() -> None:
    table = _online_retail()
    table["CustomerID"] = table["CustomerID"].astype("float64")
    assert clean_transactions(table).lines["customer"].tolist() == ["17850", "17850", "12583"]


def test_equal_lines_without_an_invoice_are_kept_and_a_day_is_an_invoice() -> None:
    table = pd.DataFrame(
        {"customer": ["a", "a", "b"], "time": ["2020-01-01", "2020-01-01", "2020-01-02"], "amount": [1, 1, 2]}
    )
    cleaned = clean_transactions(table)
    assert cleaned.lines["invoice"].tolist() == ["2020-01-01", "2020-01-01", "2020-01-02"]
    assert [step.name for step in cleaned.steps] == ["customer", "time", "amount"]


def test_a_quantity_that_is_missing_beside_an_amount_is_no_fault() -> None:
    table = pd.DataFrame(
        {"customer": list("abc"), "time": ["2020-01-01"] * 3, "amount": [1, 2, 3], "quantity": [1, None, 0]}
    )
    lines = clean_transactions(table).lines
    assert lines["customer"].tolist() == ["a", "b"]
    assert lines["quantity"].isna().tolist() == [False, True]


def test_blanks_around_a_text_are_no_part_of_it_and_a_blank_text_is_missing() -> None:
    table = pd.DataFrame({"customer": [" a", "a\t", " "], "time": ["2020-01-01"] * 3, "amount": [1, 2, 3]})
    assert clean_transactions(table).lines["customer"].tolist() == ["a", "a"]


def test_an_invoice_column_without_any_invoice_does_no_harm() -> None:
    table = pd.DataFrame({"customer": ["a"], "time": ["2020-01-01"], "amount": [1], "invoice": [None]})
    assert clean_transactions(table).lines["invoice"].tolist() == ["2020-01-01"]


def test_a_line_without_an_invoice_among_others_is_of_its_day() -> None:
    table = pd.DataFrame(
        {"customer": ["a", "b"], "time": ["2020-01-01", "2020-01-02"], "amount": [1, 1], "invoice": ["7", ""]}
    )
    assert clean_transactions(table).lines["invoice"].tolist() == ["7", "2020-01-02"]


@pytest.mark.parametrize(
    "times",
    [
        ["20111201", "20111213"],
        ["2011-12-01 00:00:00", "2011-12-13"],
        ["2011-12-01T02:00:00+02:00", "2011-12-13T00:00:00Z"],
        ["12/1/2011 0:00", "12/13/2011 0:00"],
        ["1/12/2011", "13/12/2011"],
        [20111201, 20111213],
    ],
)
def test_times_are_read_in_every_known_format(times: list[object]) -> None:
    lines = clean_transactions(pd.DataFrame({"customer": ["a", "b"], "time": times, "amount": [1, 1]})).lines
    assert lines["time"].tolist() == [pd.Timestamp("2011-12-01"), pd.Timestamp("2011-12-13")]


def test_zoned_datetimes_become_utc() -> None:
    times = pd.to_datetime(["2011-12-01T02:00:00"]).tz_localize("Europe/Helsinki")
    lines = clean_transactions(pd.DataFrame({"customer": ["a"], "time": times, "amount": [1]})).lines
    assert lines["time"].tolist() == [pd.Timestamp("2011-12-01")]


def test_a_few_unreadable_times_are_left_out_and_counted() -> None:
    times = ["2020-01-01"] * 39 + ["soon"]
    cleaned = clean_transactions(pd.DataFrame({"customer": ["a"] * 40, "time": times, "amount": [1] * 40}))
    assert [(step.name, step.rows_taken) for step in cleaned.steps if step.rows_taken] == [("time", 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"time": ["soon", "later"]},
            "100% of column time cannot be read, 'soon' for one: write each as a time",
        ),
        (
            {"amount": ["1", "much"]},
            "50% of column amount cannot be read, 'much' for one: write each as a number",
        ),
        ({"amount": [0, -1]}, "no line is left after cleaning"),
        ({"Customer ID": ["a", "b"]}, "columns customer and Customer ID are both the customer"),
    ],
)
def test_data_that_cannot_be_used_is_refused(changes: dict[str, list[object]], message: str) -> None:
    table = pd.DataFrame({"customer": ["a", "b"], "time": ["2020-01-01"] * 2, "amount": [1, 2]} | changes)
    with pytest.raises(TrainingError, match=message):
        clean_transactions(table)


def test_the_amount_is_from_the_columns_that_are_given() -> None:
    table = pd.DataFrame(
        {"customer": ["a"], "time": ["2020-01-01"], "amount": [7], "price": [2.5], "quantity": [2]}
    )
    assert clean_transactions(table).lines["amount"].tolist() == [7]
    settings = TableSettings(columns={"unit_price": "price"})
    assert clean_transactions(table, settings).lines["amount"].tolist() == [5]


def test_a_table_without_an_amount_names_what_is_needed_and_what_is_there() -> None:
    table = pd.DataFrame({"customer": ["a"], "when": ["2020-01-01"], "Price": [2.0]})
    with pytest.raises(TrainingError, match=r"no column time, amount: .* it has customer, when, Price"):
        clean_transactions(table)


def test_csv_and_parquet_give_the_same_lines(tmp_path: Path) -> None:
    table = _online_retail()
    table.to_csv(tmp_path / "shop.csv", index=False)
    table.to_parquet(tmp_path / "shop.parquet")
    from_csv = read_transactions(tmp_path / "shop.csv").lines
    from_parquet = read_transactions(tmp_path / "shop.parquet").lines
    pd.testing.assert_frame_equal(from_csv, from_parquet)


def test_the_default_data_is_cdnow() -> None:
    lines = read_transactions(None).lines
    assert (len(lines), lines["customer"].nunique()) == (69_579, 23_502)
    assert (str(lines["time"].min().date()), str(lines["time"].max().date())) == ("1997-01-01", "1998-06-30")
    assert set(lines.columns) == {"customer", "time", "amount", "quantity", "invoice"}


def test_without_the_package_the_default_data_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"pip install 'scorewire-training\[demo\]'"):
        read_transactions(None)
