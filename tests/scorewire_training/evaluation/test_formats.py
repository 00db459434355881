from __future__ import annotations

import math

import pytest

from scorewire_training.evaluation.formats import format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.70312, "0.703"),
        (2.959, "2.96"),
        (-0.066, "−0.0660"),
        (225.93, "226"),
        (68_838.4, "68,838"),
        (20_000.0, "20,000"),
        (0.000012, "< 0.0001"),
        (-8.5e-07, "> −0.0001"),
        (0.9999, "1.000"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "$", "$0"),
        (1e-200, "$", "< $0.01"),
        (0.00999, "$", "< $0.01"),
        (0.01, "$", "$0.0100"),
        (-0.000303, "€", "> −€0.01"),
        (-59.44, "$", "−$59.4"),
        (0.0, "%", "0.0%"),
        (0.0004, "%", "< 0.1%"),
        (-0.0004, "%", "> −0.1%"),
        (0.367, "%", "36.7%"),
        (1.0, "%", "100.0%"),
    ],
)
def test_units_stand_with_the_number_and_amounts_end_at_a_cent(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text
