from __future__ import annotations

import math

import pytest

from scorewire_loadtest.quantities import parse_duration, parse_rate, parse_share, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5ms", 0.005),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("2m", 120),
        ("1.5h", 5400),
        ("7", 7),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "rate"), [("500/s", 500), ("30/m", 0.5), ("12.5", 12.5), (" 10 /s ", 10)])
def test_rates_are_per_second(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), ("0.25", 0.25), ("100%", 1), ("0", 0)])
def test_shares_may_be_in_percent(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1x", "1e3s", "nan", "5 ms ms", "inf"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="like 250us, 5ms"):
        parse_duration(text)


def test_a_rate_of_zero_or_beyond_any_generator_and_a_share_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        parse_rate("0/s")
    assert parse_rate("10000000/s") == 10_000_000
    with pytest.raises(ValueError, match="at most 10,000,000/s"):
        parse_rate("10000001/s")
    with pytest.raises(ValueError, match="above 100%"):
        parse_share("101%")


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (7, "7 µs"),
        (999, "999 µs"),
        (1_234, "1.23 ms"),
        (123_456, "123.5 ms"),
        (2_500_000, "2.50 s"),
        (math.nan, "-"),
    ],
)
def test_durations_are_shown_in_the_unit_that_suits_them(microseconds: float, text: str) -> None:
    assert show_duration(microseconds) == text
