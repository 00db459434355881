from __future__ import annotations

from dataclasses import replace

import pytest

from scorewire_training.report.explained_row import ExplainedRow, MarginScale
from scorewire_training.report.waterfall import draw_waterfall

ROW = ExplainedRow(
    values={"age": "41", "country": "PE", "plan": "pro"},
    contributions={"age": 0.25, "country": -0.75, "plan": 0.5},
    base=-1.0,
    scale=MarginScale.LOG_ODDS,
    base_output=0.27,
    output=0.5,
)


def test_the_strongest_columns_come_first_and_add_up() -> None:
    assert ROW.strongest() == [("country", -0.75), ("plan", 0.5), ("age", 0.25)]
    assert ROW.margin == -1.0


@pytest.mark.parametrize(
    ("scale", "contribution", "told"),
    [
        (MarginScale.LOG_ODDS, 0.456, "+0.46"),
        (MarginScale.LOG_ODDS, -0.456, "−0.46"),
        (MarginScale.OTHER, -1e-9, "0.00"),
        (MarginScale.SHARE, -0.1234, "−12.3"),
        (MarginScale.LOGARITHM, 0.69315, "×2"),
        (MarginScale.LOGARITHM, -0.69315, "÷2"),
        (MarginScale.LOGARITHM, -1e-9, "×1"),
    ],
)
def test_a_contribution_has_the_form_of_its_scale(scale: MarginScale, contribution: float, told: str) -> None:
    assert replace(ROW, scale=scale).format_contribution(contribution) == told


def test_a_person_reads_where_the_columns_lead_and_who_says_so() -> None:
    reading, source, warning = ROW.describe("")
    assert reading.startswith("From 27.0%, which is what the base leads to, the columns lead to 50.0%")
    assert "log-odds" in reading
    assert "scorewire predict --explain" in source
    assert "cause" in warning


def test_a_model_that_servers_do_not_explain_says_why() -> None:
    row = replace(ROW, scale=MarginScale.LOGARITHM, output=12.0, not_served="it multiplies two models")
    reading, source, _ = row.describe("$")
    assert "lead to $12" in reading
    assert source.startswith("Servers do not explain this model: it multiplies two models. ")


def test_a_waterfall_has_the_base_the_columns_and_the_prediction() -> None:
    chart = draw_waterfall(ROW, "")
    texts = (
        "base",
        "country = PE",
        "plan = pro",
        "age = 41",
        "prediction",
        "−0.75",
        "+0.50",
        "27.0%",
        "50.0%",
    )
    for text in texts:
        assert f">{text}</text>" in chart.svg
    assert chart.caption == "From the base, 27.0%, by the columns, to the prediction, 50.0%."


def test_the_weakest_of_many_columns_are_one_bar() -> None:
    contributions = {f"c{place:02}": 2.0**-place for place in range(14)}
    row = replace(ROW, values=dict.fromkeys(contributions, "1"), contributions=contributions)
    chart = draw_waterfall(row, "")
    assert ">c09 = 1</text>" in chart.svg
    assert "c10" not in chart.svg
    assert ">4 other columns</text>" in chart.svg


def test_a_row_without_contributions_is_drawn() -> None:
    row = replace(ROW, contributions=dict.fromkeys(ROW.contributions, 0.0))
    assert draw_waterfall(row, "").svg.count(">0.00</text>") == 3
