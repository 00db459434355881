from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from scorewire_training.report.scales import choose_scale, format_tick

AMOUNTS = np.array([0.0, 1e-5, 2e-4, 0.03, 0.5, 2.0, 70_000.0])


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_log_scale_says_so_and_has_round_ticks(axis: str) -> None:
    axes = Figure().subplots()
    choose_scale(AMOUNTS, unit="$").label(axes, AMOUNTS, axis=axis, unit="$", title="amount")
    target = axes.xaxis if axis == "x" else axes.yaxis
    assert target.get_label_text() == "amount, log scale"
    assert [tick.get_text() for tick in target.get_ticklabels()] == [
        *("$0", "$0.1", "$1", "$10", "$100", "$1k", "$10k"),
    ]


def test_a_linear_scale_has_its_title_only() -> None:
    axes = Figure().subplots()
    choose_scale(np.arange(10.0)).label(axes, np.arange(10.0), title="rows")
    assert axes.get_xlabel() == "rows"


def test_amounts_below_a_cent_are_not_told_apart_unless_all_are() -> None:
    assert choose_scale(AMOUNTS, unit="$").step == 0.01
    assert choose_scale(AMOUNTS).step < 0.01
    assert choose_scale(AMOUNTS / 1e7, unit="$").step < 0.01


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00002, "", "0.00002"),
        (-0.00125, "", "−0.00125"),
        (1e-13, "", "0"),
        (-1e-13, "%", "0%"),
        (0.255, "%", "25.5%"),
        (-0.1, "%", "−10%"),
        (1_500, "", "1.5k"),
        (-20e6, "$", "−$20M"),
    ],
)
def test_ticks_are_short_numbers(value: float, unit: str, text: str) -> None:
    assert format_tick(value, unit) == text
