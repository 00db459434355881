from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from xgboost import XGBRegressor

from scorewire_training.estimators import HurdleRegressor, LogRegressor, RateRegressor
from scorewire_training.report.importance import explain, explain_row, permutation_importances
from scorewire_training.training_result import PredictionKind, TrainingResult
from tests.scorewire_training.results import make_result


def with_one_training_row(result: TrainingResult, **changes: Any) -> TrainingResult:
    """The result as if all training rows were the first one, so that SHAP values have no chance."""
    fields = {name: getattr(result, name) for name in ("pipeline", "test", "target", "predictions")}
    sample = result.sample.iloc[[0] * 50].reset_index(drop=True)
    return make_result(result.kind, **{**fields, "sample": sample, **changes})


def test_permutation_names_the_feature_that_the_truth_was_made_of() -> None:
    importances, _ = permutation_importances(make_result(PredictionKind.PROBABILITY), seed=0)
    assert importances[0].feature == "recency_days"
    assert importances[0].mean > 0.05


@pytest.mark.parametrize("kind", list(PredictionKind), ids=lambda kind: kind.value)
def test_shap_values_add_up_to_the_predictions(kind: PredictionKind) -> None:
    result = with_one_training_row(make_result(kind))
    explanation = explain(result, seed=0)
    assert set(explanation.contributions) == set(result.test.columns)
    assert explanation.order[0] == "recency_days"
    assert explanation.rows == 300
    assert explain(make_result(kind), seed=0).order[0] == "recency_days"
    total = np.sum(list(explanation.contributions.values()), axis=0)

    def predict(frame: pd.DataFrame) -> Any:
        if kind is PredictionKind.PROBABILITY:
            return result.pipeline.predict_proba(frame)[:, 1]
        return np.log10(np.maximum(result.pipeline.predict(frame), 0.01))

    drawn = np.sort(np.random.default_rng(0).choice(len(result.test), 300, replace=False))
    np.testing.assert_allclose(
        total, predict(result.test.iloc[drawn]) - predict(result.sample.head(1)), atol=1e-6
    )


@pytest.mark.parametrize("kind", list(PredictionKind), ids=lambda kind: kind.value)
def test_the_shap_values_of_one_row_lead_from_training_rows_to_its_prediction(kind: PredictionKind) -> None:
    result = with_one_training_row(make_result(kind))

    def predict(frame: pd.DataFrame) -> float:
        if kind is PredictionKind.PROBABILITY:
            return float(result.pipeline.predict_proba(frame)[0, 1])
        return float(np.log10(max(result.pipeline.predict(frame)[0], 0.01)))

    base, contributions = explain_row(result, result.test.iloc[[7]], seed=3)
    assert list(contributions) == list(result.test.columns)
    assert base == pytest.approx(predict(result.sample.head(1)))
    assert base + sum(contributions.values()) == pytest.approx(predict(result.test.iloc[[7]]), abs=1e-6)


def test_an_additive_model_is_explained_by_its_coefficients() -> None:
    result = make_result(PredictionKind.AMOUNT)
    columns = ["frequency", "monetary"]
    pipeline = make_pipeline(
        ColumnTransformer([("numbers", "passthrough", columns)]), LogRegressor(LinearRegression(), shift=1.0)
    )
    amounts = np.exp(0.1 * result.sample["frequency"] + 0.002 * result.sample["monetary"]) * 1_000
    pipeline.fit(result.sample, amounts)
    fitted = with_one_training_row(result, pipeline=pipeline)
    explanation = explain(fitted, seed=0)
    _, of_one_row = explain_row(fitted, result.test.tail(1), seed=0)
    drawn = np.sort(np.random.default_rng(0).choice(len(result.test), 300, replace=False))
    for column, slope in zip(columns, (0.1, 0.002), strict=True):
        moved = result.test[column].to_numpy()[drawn] - result.sample[column].iloc[0]
        np.testing.assert_allclose(
            explanation.contributions[column], slope * moved / np.log(10), rtol=0.01, atol=0.003
        )
        last = result.test[column].iloc[-1] - result.sample[column].iloc[0]
        assert of_one_row[column] == pytest.approx(slope * last / np.log(10), rel=0.01, abs=0.003)
    # What the model does not read moves nothing.
    for column in set(result.test.columns) - set(columns):
        assert not explanation.contributions[column].any()


def test_every_column_of_the_caller_is_explained_under_any_model() -> None:
    """Also the exposure that multiplies a rate, and what a hurdle and a model in a pipeline read."""
    inner = XGBRegressor(n_estimators=10, max_depth=2, n_jobs=1, random_state=0)
    hurdle = make_result(
        PredictionKind.AMOUNT, model=HurdleRegressor(LGBMClassifier(n_estimators=5, verbose=-1), inner)
    )
    encoded = hurdle.pipeline[:-1].transform(hurdle.sample)
    encoded[:, 0] = np.log1p(encoded[:, 0])
    rate = Pipeline(
        [*hurdle.pipeline.steps[:-1], ("model", RateRegressor(inner).fit(encoded, hurdle.sample_target))]
    )
    for result in (
        hurdle,
        make_result(PredictionKind.AMOUNT, pipeline=rate),
        make_result(PredictionKind.PROBABILITY, model=make_pipeline(SimpleImputer(), KNeighborsClassifier())),
        make_result(
            PredictionKind.PROBABILITY,
            model=make_pipeline(SimpleImputer(), LogisticRegression(max_iter=5_000)),
        ),
    ):
        explanation = explain(result, seed=0)
        assert sorted(explanation.order) == sorted(result.test.columns)
        assert np.abs(explanation.contributions["recency_days"]).mean() > 0.01


def test_texts_have_no_rank_and_missing_numbers_are_low() -> None:
    result = make_result(PredictionKind.PROBABILITY, rows=300)
    ranks = explain(result, seed=0).ranks
    assert ranks["country"] is None
    gaps = ranks["gap_days"]
    assert gaps is not None
    assert (gaps[result.test["gap_days"].isna().to_numpy()] == 0).all()
    assert gaps.max() <= 1
