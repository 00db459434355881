"""Renders the report of a training run: one page that loads nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from scorewire_training.config import Progress
from scorewire_training.evaluation.formats import format_value
from scorewire_training.evaluation.metrics import read_metrics
from scorewire_training.report.amount_charts import draw_amounts
from scorewire_training.report.data_charts import (
    describe_range,
    draw_cleaning,
    draw_correlations,
    draw_feature,
    draw_target,
)
from scorewire_training.report.explained_row import ExplainedRow
from scorewire_training.report.importance import explain, permutation_importances
from scorewire_training.report.importance_orders import compare_orders
from scorewire_training.report.model_charts import (
    draw_candidates,
    draw_learning_curve,
    draw_permutation,
    draw_section,
    draw_shap,
    fold_interval,
)
from scorewire_training.report.probability_charts import draw_probabilities
from scorewire_training.report.summary import (
    as_sentence,
    headline_metrics,
    outcome_against_baseline,
    summarize,
)
from scorewire_training.report.waterfall import draw_waterfall
from scorewire_training.training_result import PredictionKind, ReportSection, TrainingResult

_MAX_FEATURE_CHARTS = 30
_MAX_ROWS_OF_A_TABLE = 100


def render_report(
    result: TrainingResult,
    *,
    version: str,
    seed: int,
    explained_row: ExplainedRow,
    progress: Progress | None = None,
) -> bytes:
    """The report as HTML in UTF-8; the same result gives the same bytes.

    Args:
        result: the result of the training run.
        version: the version of the bundle that the report belongs to.
        seed: the seed for the rows to shuffle and to explain.
        explained_row: the explanation of a typical row, as `typical_row` makes one.
        progress: called with a sentence at the start of each stage.
    """
    tell = progress or (lambda _: None)
    tell("Drawing the report")
    importances, measure = permutation_importances(result, seed=seed)
    # The most important features are shown first, and only those if there are many.
    ordered = [item.feature for item in importances]
    explanation = explain(result, seed=seed)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scorewire_training.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["outcome"] = outcome_against_baseline
    environment.filters["sentence"] = as_sentence
    draw_predictions = draw_probabilities if result.kind is PredictionKind.PROBABILITY else draw_amounts
    shown = ordered[:_MAX_FEATURE_CHARTS]
    text = environment.get_template("report.html").render(
        result=result,
        version=version,
        headlines=headline_metrics(result),
        summary=summarize(result),
        metrics=read_metrics(result.metrics, unit=result.unit),
        cleaning=draw_cleaning(result.steps) if result.steps else None,
        features=_describe_features(result),
        target_chart=draw_target(result),
        feature_charts=[draw_feature(result, feature, number=n) for n, feature in enumerate(shown)],
        features_left_out=len(ordered) - len(shown),
        correlations=draw_correlations(result),
        prediction_charts=draw_predictions(result),
        learning_curve=draw_learning_curve(result.learning_curve),
        permutation=draw_permutation(importances, measure),
        measure=measure,
        shap=draw_shap(explanation, amount=result.kind is PredictionKind.AMOUNT),
        orders=compare_orders(importances, explanation, result.sample, measure),
        explained_row=_describe_explained_row(explained_row, result.unit),
        candidates=_describe_candidates(result),
        candidates_chart=draw_candidates(result.candidates, result.chosen, result.loss_name),
        sections=[_describe_section(section, n) for n, section in enumerate(result.sections)],
        amount=result.kind is PredictionKind.AMOUNT,
    )
    return text.encode("utf-8")


def _describe_features(result: TrainingResult) -> list[dict[str, str]]:
    rows = []
    for feature in result.sample.columns:
        column = result.sample[feature]
        missing = [float(frame[feature].isna().mean()) for frame in (result.sample, result.test)]
        rows.append(
            {
                "name": str(feature),
                "description": result.feature_descriptions.get(feature, ""),
                "kind": "number" if pd.api.types.is_numeric_dtype(column.dtype) else "text",
                "range": describe_range(column),
                "missing": f"{missing[0]:.1%}",
                "missing_in_test": f"{missing[1]:.1%}",
                "has_missing": "yes" if max(missing) else "",
            }
        )
    return rows


def _describe_explained_row(row: ExplainedRow, unit: str) -> dict[str, Any]:
    return {
        "sentences": row.describe(unit),
        "chart": draw_waterfall(row, unit),
        "columns": [
            (name, row.values[name], row.format_contribution(contribution))
            for name, contribution in row.strongest()
        ],
    }


def _describe_candidates(result: TrainingResult) -> list[dict[str, Any]]:
    rows = []
    for candidate in result.candidates:
        low, high = fold_interval(candidate)
        rows.append(
            {
                "name": candidate.name,
                "chosen": candidate.name == result.chosen,
                "loss": f"{candidate.loss:.5g}",
                "interval": f"{low:.5g} to {high:.5g}",
                "trials": candidate.trials,
                "parameters": describe_parameters(candidate.parameters),
            }
        )
    return rows


def describe_parameters(parameters: Mapping[str, Any]) -> str:
    """Parameters on one line, with rounded numbers."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(parameters.items())
    )


def _describe_section(section: ReportSection, number: int) -> dict[str, Any]:
    table = section.table.iloc[:_MAX_ROWS_OF_A_TABLE]
    units = [section.units.get(column, "") for column in table.columns]
    return {
        "title": section.title,
        "text": section.text,
        "charts": draw_section(section, number),
        "index": str(section.table.index.name or ""),
        "columns": [
            (str(column), pd.api.types.is_numeric_dtype(table[column].dtype)) for column in table.columns
        ],
        "rows": [
            [
                (str(name), False),
                *(
                    (format_cell(value, unit), _is_number(value))
                    for value, unit in zip(values, units, strict=True)
                ),
            ]
            for name, values in zip(table.index, table.itertuples(index=False, name=None), strict=True)
        ],
        "left_out": len(section.table) - len(table),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def format_cell(value: object, unit: str = "") -> str:
    """A cell of a table as text."""
    if _is_number(value):
        return format_value(float(value), unit)  # type: ignore[arg-type]  # it is a number
    return "–" if value is None or value is pd.NaT else str(value)
