from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from xgboost import XGBRegressor

from scorewire_training.config import TrainingConfig
from scorewire_training.estimators import HurdleRegressor
from scorewire_training.export import export_bundle
from scorewire_training.export.explanation import FrameExplainer, FrameExplanation, UnexplainedError
from scorewire_training.output.publishing import REPORT, publish
from scorewire_training.output.row_explanation import explain_typical_row
from scorewire_training.report.explained_row import ExplainedRow, MarginScale
from scorewire_training.report.importance import explain_row
from scorewire_training.report.typical_row import typical_row
from scorewire_training.training_result import PredictionKind, TrainingResult
from tests.scorewire_training.results import make_result


def explain(result: TrainingResult, folder: Path) -> ExplainedRow:
    """The explanation that the export of a result gives."""
    found = []

    def make_files(explainer: FrameExplainer) -> dict[str, bytes]:
        found.append(explain_typical_row(result, explainer, seed=0))
        return {}

    export_bundle(
        result.pipeline,
        sample=result.sample,
        name=result.name,
        version="1.0.0",
        output_dir=folder,
        files=make_files,
    )
    (row,) = found
    return row


@pytest.mark.parametrize("kind", list(PredictionKind), ids=lambda kind: kind.value)
def test_a_row_has_the_contributions_that_servers_give(kind: PredictionKind, tmp_path: Path) -> None:
    result = make_result(kind)
    row = explain(result, tmp_path)
    typical = typical_row(result)
    assert row.not_served == ""
    assert list(row.contributions) == list(row.values) == list(typical.columns)
    assert row.values["country"] == typical["country"].iloc[0]
    if kind is PredictionKind.PROBABILITY:
        assert row.scale is MarginScale.LOG_ODDS
        assert row.output == pytest.approx(result.pipeline.predict_proba(typical)[0, 1], rel=1e-5)
        assert row.base_output == pytest.approx(1 / (1 + np.exp(-row.base)))
        assert row.output == pytest.approx(1 / (1 + np.exp(-row.margin)))
    else:
        assert row.scale is MarginScale.LOGARITHM
        assert row.output == pytest.approx(result.pipeline.predict(typical)[0], rel=1e-5)
        assert row.output == pytest.approx(np.exp(row.margin))


@pytest.mark.parametrize(
    ("kind", "model", "reason"),
    [
        (
            PredictionKind.PROBABILITY,
            make_pipeline(SimpleImputer(), KNeighborsClassifier()),
            "is neither a sum of trees nor linear",
        ),
        (
            PredictionKind.AMOUNT,
            HurdleRegressor(LGBMClassifier(n_estimators=5, verbose=-1), XGBRegressor(n_estimators=5)),
            "it multiplies a probability by an amount",
        ),
    ],
    ids=["probability", "amount"],
)
def test_where_servers_give_none_the_row_has_shap_values_and_the_reason(
    kind: PredictionKind, model: Any, reason: str, tmp_path: Path
) -> None:
    result = make_result(kind, model=model)
    row = explain(result, tmp_path)
    base, contributions = explain_row(result, typical_row(result), seed=0)
    assert reason in row.not_served
    end = base + sum(contributions.values())
    if kind is PredictionKind.PROBABILITY:
        assert row.scale is MarginScale.SHARE
        assert row.contributions == contributions
        assert (row.base_output, row.output) == (base, end)
    else:
        assert row.scale is MarginScale.LOGARITHM
        factors = {name: 10**value for name, value in contributions.items()}
        assert {name: np.exp(value) for name, value in row.contributions.items()} == pytest.approx(factors)
        assert (row.base_output, row.output) == pytest.approx((10**base, 10**end))


def test_missing_values_are_named() -> None:
    result = make_result(PredictionKind.PROBABILITY)
    test = result.test.assign(gap_days=np.nan, country="")
    empty = replace(result, test=test)

    class Unexplained(FrameExplainer):
        def __init__(self) -> None:
            pass

        def explain(self, frame: pd.DataFrame) -> FrameExplanation:
            raise UnexplainedError(f"{len(frame)} row")

    row = explain_typical_row(empty, Unexplained(), seed=0)
    assert row.not_served == "1 row"
    assert row.values["gap_days"] == row.values["country"] == "missing"
    assert row.values["frequency"].isdigit()


def test_the_report_of_a_bundle_explains_a_row(tmp_path: Path) -> None:
    config = TrainingConfig(output_dir=tmp_path)
    trained = publish(make_result(PredictionKind.PROBABILITY), config, progress=lambda _: None)
    page = (trained.export.path / REPORT).read_text(encoding="utf-8")
    assert "Why the prediction is what it is" in page
    assert "A server tells the same of each row that it is asked to explain" in page
