"""The business: how many rows were scored, and what the scores add up to."""

from __future__ import annotations

from deploy.grafana.definitions.models import MODELS, SCORES
from deploy.grafana.definitions.panels import Dashboard, Panel, Row, Sql

# A shadow's rows are copies, and rows with an error have no score.
_SCORED = f"{SCORES} AND score IS NOT NULL AND route_kind <> 'shadow'"
_BANDS = 5


def _stat(title: str, about: str, value: str) -> Panel:
    queries = [Sql(f"SELECT {value} AS value FROM {_SCORED}")]
    return Panel(title=title, about=about, queries=queries, kind="stat", width=6, height=4)


def _over_time(title: str, about: str, value: str, *, stacked: bool = False) -> Panel:
    statement = (
        f"SELECT $__timeGroup(time, $__interval) AS time, model AS metric, {value} AS value FROM {_SCORED}"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return Panel(title=title, about=about, queries=[Sql(statement, "time_series")], stacked=stacked, width=8)


_TOTALS = Row(
    "In the chosen time",
    [
        _stat(
            "Rows scored", "Rows with a score, scaled by the share that is recorded.", "round(sum(1 / share))"
        ),
        _stat(
            "Mean score",
            "The mean probability, revenue or other score.",
            "sum(score / share) / sum(1 / share)",
        ),
        _stat(
            "Sum of scores",
            "For a model of revenue: what the scored users are expected to bring. For a probability: how many of the"
            " scored rows are expected to be positive.",
            "sum(score / share)",
        ),
        _stat("Models", "Models that scored a row.", "count(DISTINCT model)"),
    ],
)
_TIME = Row(
    "Over time",
    [
        _over_time("Rows scored by model", "Rows in each interval.", "round(sum(1 / share))", stacked=True),
        _over_time(
            "Mean score by model", "The mean score in each interval.", "sum(score / share) / sum(1 / share)"
        ),
        _over_time(
            "Sum of scores by model",
            "Expected revenue, or the expected number of positive rows, in each interval.",
            "sum(score / share)",
            stacked=True,
        ),
    ],
)
_BY_BAND = Row(
    "Bands",
    [
        Panel(
            title="Rows by band of the score",
            about="Rows in five bands of equal width: of probabilities from 0 to 1, of other scores up to the highest one.",
            queries=[
                Sql(
                    f"""
                    WITH s AS MATERIALIZED (SELECT model, score, share FROM {_SCORED}),
                    e AS (
                        SELECT model, CASE WHEN min(score) >= 0 THEN 0 ELSE min(score) END AS low,
                            CASE WHEN min(score) >= 0 AND max(score) <= 1 THEN 1 ELSE max(score) END AS high
                        FROM s GROUP BY model
                    )
                    SELECT model || ' ' || round((low + band * (high - low) / {_BANDS})::numeric, 2) || ' to '
                            || round((low + (band + 1) * (high - low) / {_BANDS})::numeric, 2) AS band,
                        round(sum(1 / share)) AS rows
                    FROM (
                        SELECT s.model, low, high, share,
                            coalesce(least(floor((score - low) / nullif(high - low, 0) * {_BANDS}), {_BANDS - 1}), 0) AS band
                        FROM s JOIN e USING (model)
                    ) b
                    GROUP BY model, low, high, b.band ORDER BY model, b.band
                    """
                )
            ],
            kind="barchart",
        ),
        Panel(
            title="What the top of the rows brings",
            about="The share of the sum of scores that the 10 %, 20 % and 50 % of rows with the highest scores have.",
            queries=[
                Sql(
                    f"""
                    WITH s AS (
                        SELECT model, score, percent_rank() OVER (PARTITION BY model ORDER BY score DESC) AS rank FROM {_SCORED}
                    )
                    SELECT model, p.top || ' %' AS top_rows,
                        sum(score) FILTER (WHERE rank * 100 <= p.top) / nullif(sum(score), 0) AS share_of_sum
                    FROM s, (VALUES (10), (20), (50)) p (top) GROUP BY model, p.top ORDER BY model, p.top
                    """
                )
            ],
            unit="percentunit",
            kind="table",
        ),
    ],
)

BUSINESS = Dashboard(
    name="business",
    title="Scorewire: business",
    about="How many rows were scored, and what their scores add up to. Choose models whose scores have one unit.",
    variables=[MODELS],
    rows=[_TOTALS, _TIME, _BY_BAND],
)
