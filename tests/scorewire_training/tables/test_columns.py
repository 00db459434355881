from __future__ import annotations

import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.tables.columns import match_columns, note_columns, require_columns
from scorewire_training.tables.notes import Cell, TableNote
from scorewire_training.tables.settings import TableSettings

SPELLINGS = {"customer": ("customer", "customerid"), "time": ("time", "date"), "invoice": ("invoice",)}
COLUMNS = ["Customer ID", "FECHA", "ID_CLIENTE", "invoice"]


def test_given_names_come_before_usual_ones() -> None:
    assert match_columns(COLUMNS, SPELLINGS, {}) == {"customer": "Customer ID", "invoice": "invoice"}
    given = {"time": "FECHA", "customer": "ID_CLIENTE"}
    assert match_columns(COLUMNS, SPELLINGS, given) == {
        "customer": "ID_CLIENTE",
        "time": "FECHA",
        "invoice": "invoice",
    }
    # A column that is given as something is nothing else.
    assert match_columns(COLUMNS, SPELLINGS, {"time": "invoice"}) == {
        "customer": "Customer ID",
        "time": "invoice",
    }


def test_columns_are_told_with_the_names_that_they_have_in_the_table() -> None:
    given = {"time": "FECHA", "customer": "customer"}
    found = {
        "customer": "customer",
        "time": "FECHA",
        "invoice": "invoice",
        "amount": "Total",
        "country": "country",
    }
    assert note_columns(found, given) == [
        TableNote("columns", "invoice, country (by their names)"),
        TableNote("customer", "column customer (given)"),
        TableNote("time", "column FECHA (given)"),
        TableNote("amount", "column Total (by its name)"),
    ]


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (
            COLUMNS,
            {"custmer": "FECHA"},
            "no column is called custmer; the names are customer, time, invoice; did you mean 'customer'\\?",
        ),
        (COLUMNS, {"price": "FECHA"}, "no column is called price; the names are customer, time, invoice"),
        (
            COLUMNS,
            {"customer": "ID_CLIENT"},
            "it has Customer ID, FECHA, ID_CLIENTE, invoice; did you mean 'ID_CLIENTE'\\?",
        ),
        (
            COLUMNS,
            {"customer": "x"},
            "no column x, which was given as the customer; it has Customer ID, FECHA",
        ),
        (["date", "Time"], {}, "date and Time are both the time: leave one out, or .* --column 'time=date'"),
        (["date", "date"], {}, "date and date are both the time|two columns named date"),
        (["date", "ID", "id"], {"customer": "ID"}, "columns ID and id differ only in case: rename one"),
        (["FECHA", "FECHA"], {"time": "FECHA"}, "two columns named FECHA: rename one"),
    ],
)
def test_a_mistake_names_the_columns_that_exist(
    columns: list[str], given: dict[str, str], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        match_columns(columns, SPELLINGS, given)


def test_a_missing_column_tells_how_to_name_it() -> None:
    with pytest.raises(
        TrainingError, match=r"no column time: .* has Customer ID, .* pass --column time=NAME"
    ):
        require_columns(match_columns(COLUMNS, SPELLINGS, {}), ["customer", "time"], COLUMNS)
    with pytest.raises(
        TrainingError, match="and has customer:time; if another character .* pass --delimiter"
    ):
        require_columns({}, ["customer", "time"], ["customer:time"])


def test_errors_stay_short_for_wide_tables_and_long_values() -> None:
    columns = [f"c{number}" for number in range(2_000)] + ["x" * 10_000]
    with pytest.raises(TrainingError) as caught:
        match_columns(columns, SPELLINGS, {"time": "when"})
    assert "c39 and 1,961 more" in str(caught.value)
    with pytest.raises(TrainingError) as caught:
        match_columns(columns[::-1], SPELLINGS, {"time": "when"})
    assert len(str(caught.value)) < 600
    assert str(Cell(1, "y" * 1_000)) == f"'{'y' * 80}'... (row 1)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"customer": "A", "time": "A"}}, "column A is given as customer and as time"),
        ({"delimiter": ";;"}, "delimiter is ';;': give one character"),
        ({"delimiter": ""}, "delimiter is '': give one character"),
        ({"delimiter": '"'}, "give one character"),
        ({"decimal": "'"}, "choose . or ,"),
        ({"encoding": "utf-99"}, "encoding is 'utf-99', which is unknown"),
        ({"encoding": "base64"}, "encoding is 'base64', which is unknown"),
        ({"date_format": "DD/MM/YYYY"}, "it does not have the day, the month and the year"),
        ({"date_format": "%d/%m"}, "it does not have the day, the month and the year"),
        ({"date_format": "%d/%m/%"}, "date_format is '%d/%m/%', and it"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TableSettings(**settings)  # type: ignore[arg-type]


def test_a_tab_is_given_as_people_write_it() -> None:
    assert TableSettings(delimiter=r"\t") == TableSettings(delimiter="\t")


def test_settings_are_options_again() -> None:
    settings = TableSettings(
        columns={"customer": "ID=X", "time": "a b"},
        delimiter="\t",
        decimal=",",
        encoding="cp1252",
        date_format="%Y-%m-%d",
    )
    assert settings.to_options() == [
        *("--column", "customer=ID=X", "--column", "time=a b", "--delimiter", "\\t", "--decimal", ","),
        *("--encoding", "cp1252", "--date-format", "%Y-%m-%d"),
    ]
