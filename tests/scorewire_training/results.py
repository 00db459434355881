"""Small training results of both kinds, made in seconds from synthetic data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.estimators import TextCleaner
from scorewire_training.evaluation import evaluate_amounts, evaluate_probabilities
from scorewire_training.report.explained_row import ExplainedRow, MarginScale
from scorewire_training.report.typical_row import typical_row
from scorewire_training.study.candidates import TunedCandidate
from scorewire_training.study.learning_curve import LearningCurve
from scorewire_training.training_result import CleaningStep, PredictionKind, ReportSection, TrainingResult

TEXT = "country"


def make_result(
    kind: PredictionKind,
    *,
    rows: int = 1_200,
    model: Any = None,
    rename: Callable[[str], str] = str,
    **changes: Any,
) -> TrainingResult:
    """A training result with `rows` rows, a third of them in the test.

    Args:
        kind: what is predicted.
        rows: in all.
        model: the pipeline's last step; by default XGBoost of 30 trees.
        rename: of columns.
        changes: fields of the result to replace.
    """
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "recency_days": rng.exponential(40, rows).round(),
            "frequency": 1.0 + rng.poisson(3, rows),
            "monetary": np.exp(rng.normal(4, 1.3, rows)),
            "gap_days": np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(2, 12, rows)),
            TEXT: rng.choice(
                np.array(["pe", "de", "us", "is"], dtype=object), rows, p=[0.5, 0.3, 0.19, 0.01]
            ),
        }
    )
    raised = 0.8 * np.log(frame["frequency"]) - frame["recency_days"] / 40 + (frame[TEXT] == "us")
    signal = raised.to_numpy(np.float64)
    if kind is PredictionKind.PROBABILITY:
        truth = (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.float64)
    else:
        pays = rng.random(rows) < 0.6
        truth = np.where(pays, np.exp(signal + rng.normal(0, 1.2, rows)), 0.0)
    frame = frame.rename(columns=rename)
    text = rename(TEXT)
    numbers = [column for column in frame.columns if column != text]
    training, test = frame.iloc[: 2 * rows // 3], frame.iloc[2 * rows // 3 :].reset_index(drop=True)
    target, sample_target = truth[2 * rows // 3 :], truth[: 2 * rows // 3]
    if model is None:
        build = XGBClassifier if kind is PredictionKind.PROBABILITY else XGBRegressor
        objective = {} if kind is PredictionKind.PROBABILITY else {"objective": "reg:tweedie"}
        model = build(n_estimators=30, max_depth=3, learning_rate=0.2, n_jobs=1, random_state=0, **objective)
    countries = Pipeline(
        [("clean", TextCleaner()), ("encode", TargetEncoder(target_type="continuous", cv=KFold(5)))]
    )
    encoder = ColumnTransformer(
        [("numbers", "passthrough", numbers), ("texts", countries, [text])], sparse_threshold=0
    )
    pipeline = Pipeline([("features", encoder), ("model", model)]).fit(training, sample_target)
    if kind is PredictionKind.PROBABILITY:
        predictions = pipeline.predict_proba(test)[:, 1]
        baselines = {"recency": -test[numbers[0]], "frequency": test[numbers[1]]}
        metrics = evaluate_probabilities(target, predictions, baselines=baselines, seed=0)
    else:
        predictions = pipeline.predict(test)
        middle = float(np.median(sample_target))
        baselines = {"constant": middle}
        metrics = evaluate_amounts(target, predictions, baselines=baselines, ordinary_limit=1_000.0, seed=0)
    candidates = tuple(
        TunedCandidate(
            name=name,
            parameters={"depth": 3, "learning_rate": 0.123456},
            fold_losses=(loss, loss + 0.01, loss - 0.02),
            trials=4,
            seconds=1.5,
        )
        for name, loss in (("linear", 0.58), ("forest", 0.55), ("boosted trees", 0.52))
    )
    sizes = np.array([100.0, 400.0, 800.0])
    fields: dict[str, Any] = {
        "name": "shop",
        "title": "Who buys again?" if kind is PredictionKind.PROBABILITY else "What does a user bring?",
        "description": "Made up, for tests.",
        "kind": kind,
        "unit": "" if kind is PredictionKind.PROBABILITY else "$",
        "pipeline": pipeline,
        "sample": training,
        "sample_target": sample_target,
        "test": test,
        "target": target,
        "predictions": np.asarray(predictions, dtype=np.float64),
        "metrics": {**metrics, "test_rows": float(len(test))},
        "feature_descriptions": {column: f"What {column} is." for column in frame.columns},
        "candidates": candidates,
        "chosen": "boosted trees",
        "rule": "The least mean loss.",
        "loss_name": "mean loss over the folds",
        "steps": (
            CleaningStep(name="no customer", reason="nobody to foretell", rows_taken=300, rows_left=1_400),
            CleaningStep(name="duplicates", reason="the same line again", rows_taken=200, rows_left=1_200),
        ),
        "evaluation_protocol": ("Fitted on the first two thirds.", "Evaluated on the last third."),
        "limits": ("It knows four countries.",),
        "learning_curve": LearningCurve(
            loss_name="mean loss",
            rows=sizes,
            training=np.array([0.3, 0.4, 0.45]),
            validation=np.array([0.62, 0.56, 0.53]),
        ),
        "sections": (
            ReportSection(
                title="Segments",
                text="Loyal customers are few.",
                table=pd.DataFrame(
                    {"rows": [120, 280], "rate": [0.71, 0.33]},
                    index=pd.Index(["loyal", "others"], name="segment"),
                ),
                chart=("rows", "rate"),
            ),
        ),
    }
    return TrainingResult(**{**fields, **changes})


def make_explained_row(result: TrainingResult) -> ExplainedRow:
    """A made-up explanation of the typical row of a result: halves of 1, with turning signs, from base −1."""
    row = typical_row(result)
    names = [str(name) for name in row.columns]
    probability = result.kind is PredictionKind.PROBABILITY
    return ExplainedRow(
        values={name: str(row[name].iloc[0]) for name in row.columns},
        contributions={name: (-0.5) ** place for place, name in enumerate(names)},
        base=-1.0,
        scale=MarginScale.LOG_ODDS if probability else MarginScale.LOGARITHM,
        base_output=0.25,
        output=0.5,
    )
