from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scorewire_training.errors import TrainingError
from scorewire_training.tables.dates import DateInspector, DateReading
from scorewire_training.tables.notes import TableNote

Notes = dict[str, TableNote]


def _decide(*parts: list[object] | pd.Series, date_format: str | None = None) -> tuple[DateReading, Notes]:
    inspector = DateInspector(date_format)
    for part in parts:
        inspector.add(pd.Series(part, dtype=None if isinstance(part, pd.Series) else object))
    reading, notes = inspector.decide("when")
    return reading, {note.subject: note for note in notes}


def _read(texts: list[object], date_format: str | None = None) -> list[str]:
    column = pd.Series(texts, dtype=object)
    return [str(time) for time in _decide(texts, date_format=date_format)[0].read(column)]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["03/04/2011", "13/04/2011"], "2011-04-03"),
        (["03/04/2011", "04/13/2011"], "2011-03-04"),
        (["03.04.2011 08:30", "13.04.2011 8:30"], "2011-04-03 08:30:00"),
        (["3-4-2011 08:30:15", "13-4-2011 08:30:15"], "2011-04-03 08:30:15"),
        (["3/4/2011 8:30 PM", "3/13/2011 8:30 am"], "2011-03-04 20:30:00"),
        (["3/4/2011 8:30PM", "3/13/2011 8:30am"], "2011-03-04 20:30:00"),
        (["3/4/2011, 8:30:00 pm", "3/13/2011, 8:30:00 AM"], "2011-03-04 20:30:00"),
        (["03/04/11", "30/04/11", "1/05/11"], "2011-04-03"),
        (["3/4/11 8:26", "3/13/11 8:26"], "2011-03-04 08:26:00"),
        (["11/03/04", "2011-03-04", "45/03/04", "11/12/31", "11/03/32", "99/31/12"], None),
        (["2011/03/04", "2011/13/04"], None),
        (["2011-03-04", "03/04/2011", "13/04/2011"], "2011-03-04"),
        # Rows without a clock are at midnight.
        (["03/04/2011", "13/04/2011 08:30"], "2011-04-03"),
        (["2011-03-04T08:30:00.25", "2011-03-05"], "2011-03-04 08:30:00.250000"),
    ],
)
def test_a_column_is_read_in_the_order_that_all_its_values_allow(
    texts: list[object], wanted: str | None
) -> None:
    if wanted is None:
        with pytest.raises(TrainingError, match="cannot be read|mixes orders|readings"):
            _read(texts)
    else:
        assert pd.Timestamp(_read(texts)[0]) == pd.Timestamp(wanted)


@pytest.mark.parametrize(
    ("texts", "readings"),
    [
        (
            ["01/01/2011", "03/04/2011 08:30"],
            {"2011-04-03": "%d/%m/%Y %H:%M", "2011-03-04": "%m/%d/%Y %H:%M"},
        ),
        (["3.4.2011"], {"2011-04-03": "%d.%m.%Y", "2011-03-04": "%m.%d.%Y"}),
        (
            ["03/04/11"],
            {"2003-04-11": "%y/%m/%d", "2011-04-03": "%d/%m/%y", "2011-03-04": "%m/%d/%y"},
        ),
        (["13/04/11"], {"2013-04-11": "%y/%m/%d", "2011-04-13": "%d/%m/%y"}),
    ],
)
def test_dates_with_several_readings_are_refused_with_an_option_for_each(
    texts: list[object], readings: dict[str, str]
) -> None:
    with pytest.raises(TrainingError) as caught:
        _decide(texts)
    message = str(caught.value)
    assert f"{texts[-1]!r} (row {len(texts)})" in message
    for day, form in readings.items():
        assert f"{day} ({form})" in message
        assert f"--date-format '{form}'" in message
        # The option does settle it.
        assert _read(texts, form)[-1].startswith(day)
    assert f"{len(readings)} readings" in message


def test_equal_days_and_months_leave_nothing_open() -> None:
    assert _read(["01/01/2011", "02/02/2011"]) == ["2011-01-01 00:00:00", "2011-02-02 00:00:00"]


def test_a_date_that_excludes_years_first_only_does_not_settle_day_and_month() -> None:
    note = _decide(["04/04/2011", "05/05/2011"])[1]["times"]
    assert note.text == "%d/%m/%Y; day and month are the same in all values"
    assert note.values == "like '04/04/2011' (row 1)"


def test_the_value_that_settles_the_order_may_come_in_a_later_part() -> None:
    parts: list[list[object]] = [["03/04/2011", None], ["05/04/2011", ""], ["04/13/2011", "01/01/2011"]]
    reading, notes = _decide(*parts)
    assert str(reading.read(pd.Series(["03/04/2011"]))[0]) == "2011-03-04 00:00:00"
    assert notes["times"] == TableNote("times", "%m/%d/%Y", "settled by '04/13/2011' (row 5)")


def test_values_that_exclude_every_order_are_named() -> None:
    with pytest.raises(TrainingError) as caught:
        _decide(["13/01/2011"], ["01/02/2011"], ["01/13/2011"])
    message = str(caught.value)
    assert "column when mixes orders of day and month" in message
    assert "'13/01/2011' (row 1) and '01/13/2011' (row 3)" in message


def test_many_values_without_a_reading_are_refused_with_their_rows() -> None:
    with pytest.raises(TrainingError) as caught:
        _decide(["2011-01-01"] * 5, [None, "soon", "2011-02-30", "2011-01-01"])
    message = str(caught.value)
    assert "22% of column when cannot be read, 'soon' for one" in message
    assert "'soon' (row 7), '2011-02-30' (row 8)" in message


def test_few_values_without_a_reading_are_missing_and_told() -> None:
    texts: list[object] = ["2011-01-01"] * 60 + ["soon", "later"]
    reading, notes = _decide(texts)
    assert notes["unreadable times"] == TableNote(
        "unreadable times", "2, left out", "'soon' (row 61), 'later' (row 62)"
    )
    assert reading.read(pd.Series(texts)).isna().tolist() == [False] * 60 + [True] * 2


def test_a_given_format_is_used_whatever_other_readings_there_are() -> None:
    assert _read(["2011-31-12"], "%Y-%d-%m") == ["2011-12-31 00:00:00"]
    assert _read(["31 Dec 2011"], "%d %b %Y") == ["2011-12-31 00:00:00"]
    assert _read(["31/12/2011 02:00 +0200"], "%d/%m/%Y %H:%M %z") == ["2011-12-31 00:00:00"]
    # A known format reads its order, with or without a clock.
    assert _read(["03/04/2011", "03/04/2011 08:30"], "%d/%m/%Y")[1] == "2011-04-03 08:30:00"
    with pytest.raises(TrainingError, match=r"50% of column when cannot be read as %d/%m/%Y, '12/31/2011'"):
        _decide(["03/04/2011", "12/31/2011"], date_format="%d/%m/%Y")


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("%Y-%m-%d", ["2011-04-03", "03-04-11"]),
        ("%d/%m/%Y", ["03/04/2011", "03/04/11"]),
        ("%d/%m/%y", ["03/04/11", "03/04/2011"]),
    ],
)
def test_a_given_format_also_tells_the_digits_of_the_year(form: str, texts: list[object]) -> None:
    reading, _ = _decide([texts[0]] * 30 + [texts[1]], date_format=form)
    times = reading.read(pd.Series(texts, dtype=object))
    assert (str(times[0]), times.isna().tolist()) == ("2011-04-03 00:00:00", [False, True])


@pytest.mark.parametrize("form", [None, "%d/%m/%Y", "%d %b %Y"])
@pytest.mark.parametrize("text", ["now", "today", "Today", "NOW"])
def test_words_for_the_present_are_no_times(form: str | None, text: str) -> None:
    texts: list[object] = ["13 Dec 2011" if form == "%d %b %Y" else "13/12/2011"] * 30 + [text]
    reading, notes = _decide(texts, date_format=form)
    assert reading.read(pd.Series(texts)).isna().sum() == 1
    assert f"{text!r} (row 31)" in notes["unreadable times"].values


def test_times_with_zones_become_utc_and_are_told() -> None:
    texts: list[object] = ["2011-12-01 08:00:00", "2011-12-01T02:00:00+02:00"]
    reading, notes = _decide(texts)
    assert reading.read(pd.Series(texts)).tolist() == [
        pd.Timestamp("2011-12-01 08:00"),
        pd.Timestamp("2011-12-01"),
    ]
    assert notes["zones"].values == "like '2011-12-01T02:00:00+02:00' (row 2)"
    typed = pd.Series(pd.to_datetime(["2011-12-01T02:00:00"]).tz_localize("Europe/Helsinki"))
    assert "zones" in _decide(typed)[1]


def test_typed_times_are_taken_as_they_are_and_a_format_for_them_is_told_as_unused() -> None:
    typed = pd.Series(pd.to_datetime(["2011-12-01", None]))
    assert _decide(typed)[1] == {"times": TableNote("times", "typed in the file")}
    assert _decide(typed, date_format="%d/%m/%Y")[1]["times"].text.endswith("is not used")
    assert DateReading().read(typed).isna().tolist() == [False, True]


def test_parts_give_what_the_whole_column_gives() -> None:
    rng = np.random.default_rng(0)
    days = pd.Series(pd.to_datetime("2011-01-01") + pd.to_timedelta(rng.integers(0, 300, 400), "D"))
    texts = days.dt.strftime("%d/%m/%Y").astype(object)
    whole, notes = _decide(texts)
    for size in (1, 7, 150):
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        reading, told = _decide(*parts)
        assert told == notes
        assert reading.read(texts).tolist() == whole.read(texts).tolist() == days.tolist()
