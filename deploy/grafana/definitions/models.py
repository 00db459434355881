"""The models: which versions answer, what they score, and which rows they cannot score."""

from __future__ import annotations

from deploy.grafana.definitions.panels import Dashboard, Panel, Prometheus, Row, Sql, Variable

_RATE = "$__rate_interval"
_MODEL = 'model=~"$model"'
# The rows of the chosen models and time.
SCORES = "scorewire.scores($__timeFrom(), $__timeTo()) WHERE model IN (${model:sqlstring})"
MODELS = Variable(name="model", label="Model", query=Sql("SELECT model FROM scorewire.models ORDER BY model"))

_VERSIONS = Row(
    "Versions",
    [
        Panel(
            title="States of versions",
            about="The state of each version on each server."
            " Runbook: docs/runbooks/models.md#scorewireversionrefused",
            queries=[
                Prometheus(f"scorewire_versions{{{_MODEL}}} == 1", instant=True, format="table"),
            ],
            kind="table",
            width=8,
        ),
        Panel(
            title="Share of rows by version",
            about="Which share of a model's rows each version answered: compare it with the weights of the split.",
            queries=[
                Prometheus(
                    f"sum by (model, version) (rate(scorewire_rows_total{{{_MODEL}}}[{_RATE}]))"
                    f" / on (model) group_left () sum by (model) (rate(scorewire_rows_total{{{_MODEL}}}[{_RATE}]))",
                    "{{model}} {{version}}",
                )
            ],
            unit="percentunit",
            width=8,
        ),
        Panel(
            title="Routes",
            about="Rows by version and by the route that led to it; a shadow's rows are copies.",
            queries=[
                Sql(
                    "SELECT model, version, route_kind AS kind, route, round(sum(1 / share)) AS rows,"
                    f" avg(score) AS mean_score FROM {SCORES} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
                )
            ],
            kind="table",
            width=8,
        ),
        Panel(
            title="Routes that are not in force",
            about="Versions that a split, an alias or a shadow names and that do not serve."
            " Runbook: docs/runbooks/models.md#scorewireroutenotinforce",
            queries=[Prometheus(f"sum by (model) (scorewire_versions_missing{{{_MODEL}}})", "{{model}}")],
            width=8,
        ),
        Panel(
            title="Failed calls by version",
            about="Share of a version's calls that failed, by whomever's fault."
            " Runbook: docs/runbooks/models.md#scorewireversionfails",
            queries=[
                Prometheus(
                    f"(sum by (model, version) (rate(scorewire_errors_total{{{_MODEL}}}[{_RATE}]))"
                    f" or 0 * sum by (model, version) (rate(scorewire_calls_total{{{_MODEL}}}[{_RATE}])))"
                    f" / sum by (model, version) (rate(scorewire_calls_total{{{_MODEL}}}[{_RATE}]))",
                    "{{model}} {{version}}",
                )
            ],
            unit="percentunit",
            width=8,
        ),
        Panel(
            title="Time in the model",
            about="99th percentile of a run of the model, by version.",
            queries=[
                Prometheus(
                    "histogram_quantile(0.99, sum by (model, version, le)"
                    f" (rate(scorewire_model_seconds_bucket{{{_MODEL}}}[{_RATE}])))",
                    "{{model}} {{version}}",
                )
            ],
            unit="s",
            width=8,
        ),
    ],
)
_DISTRIBUTIONS = Row(
    "Scores",
    [
        Panel(
            title="Distribution of scores",
            about="Share of a version's rows in ten bands of equal width, from the least score to the highest one of all"
            " chosen models: choose one model. A version whose bands differ from the others' answers otherwise.",
            queries=[
                Sql(
                    f"""
                    WITH s AS MATERIALIZED (
                        SELECT version, score, share FROM {SCORES} AND score IS NOT NULL AND route_kind <> 'shadow'
                    ), e AS (SELECT min(score) AS low, nullif(max(score) - min(score), 0) / 10 AS step FROM s),
                    b AS (
                        SELECT version, coalesce(least(floor((score - low) / step), 9), 0)::int AS band, sum(1 / share) AS rows
                        FROM s, e GROUP BY 1, 2
                    )
                    SELECT round((low + band * coalesce(step, 0))::numeric, 4)::text AS band, version AS metric,
                        rows / sum(rows) OVER (PARTITION BY version) AS rows
                    FROM b, e ORDER BY b.band, version
                    """
                )
            ],
            unit="percentunit",
            kind="barchart",
            pivot=("band", "metric", "rows"),
        ),
        Panel(
            title="Quantiles of scores",
            about="The scores below which 5 %, 50 % and 95 % of a version's rows are.",
            queries=[
                Sql(
                    f"""
                    SELECT $__timeGroup(time, $__interval) AS time, model || ' ' || version || ' ' || q.name AS metric,
                        percentile_cont(q.part) WITHIN GROUP (ORDER BY score) AS value
                    FROM {SCORES.replace(" WHERE", ", (VALUES ('5 %', 0.05), ('median', 0.5), ('95 %', 0.95)) q (name, part) WHERE")}
                        AND score IS NOT NULL AND route_kind <> 'shadow'
                    GROUP BY 1, 2, q.part ORDER BY 1, 2
                    """,
                    "time_series",
                )
            ],
            unit="short",
        ),
    ],
)
_ERRORS = Row(
    "Rows with an error",
    [
        Panel(
            title="Share of rows with an error",
            about="Runbook: docs/runbooks/models.md#scorewirerowerrors",
            queries=[
                Prometheus(
                    f"(sum by (model, version) (rate(scorewire_row_errors_total{{{_MODEL}}}[{_RATE}]))"
                    f" or 0 * sum by (model, version) (rate(scorewire_rows_total{{{_MODEL}}}[{_RATE}])))"
                    f" / sum by (model, version) (rate(scorewire_rows_total{{{_MODEL}}}[{_RATE}]))",
                    "{{model}} {{version}}",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            title="Reasons of row errors",
            about="Rows per second that got an error, by reason. The records have the feature of each.",
            queries=[
                Prometheus(
                    f"sum by (model, version, reason) (rate(scorewire_row_errors_total{{{_MODEL}}}[{_RATE}]))",
                    "{{model}} {{version}} {{reason}}",
                )
            ],
            unit="rps",
        ),
    ],
)

MODELS_DASHBOARD = Dashboard(
    name="models",
    title="Scorewire: models",
    about="Which versions answer, what they score, and which rows they cannot score.",
    variables=[MODELS],
    rows=[_VERSIONS, _DISTRIBUTIONS, _ERRORS],
)
