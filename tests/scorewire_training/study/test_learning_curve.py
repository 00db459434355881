from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from scorewire_training.study.candidates import Candidate
from scorewire_training.study.learning_curve import LearningCurve, measure_learning_curve
from scorewire_training.study.validation import CrossValidation


def _squared(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    return float(np.mean((truth - said) ** 2))


def _measure(count: int, units: NDArray[np.int64] | None = None) -> tuple[LearningCurve, list[str]]:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(count, 10)))
    target = rows.sum(axis=1).to_numpy() + rng.normal(size=count)
    told: list[str] = []
    curve = measure_learning_curve(
        Candidate(
            name="line", suggest=lambda _: {}, build=lambda _: Pipeline([("model", LinearRegression())])
        ),
        {},
        CrossValidation(
            rows=rows,
            target=target,
            folds=[(np.arange(count // 2), np.arange(count // 2, count))],
            predict=lambda pipeline, part: np.asarray(pipeline.predict(part)),
            loss=_squared,
        ),
        units=units,
        loss_name="squared error",
        seed=0,
        progress=told.append,
    )
    return curve, told


def test_more_rows_bring_training_and_validation_together() -> None:
    curve, told = _measure(800)
    assert curve.loss_name == "squared error"
    assert curve.rows.tolist() == [40, 80, 160, 280, 400]
    gaps = curve.validation - curve.training
    assert gaps[0] > 2 * gaps[-1]
    assert gaps[-1] > 0
    assert told[0] == "Fitting line on 10% of the rows"


def test_shares_with_too_few_rows_are_left_out() -> None:
    curve, _ = _measure(200)
    assert curve.rows.tolist() == [40, 70, 100]


def test_units_are_drawn_whole() -> None:
    curve, _ = _measure(800, np.arange(800) // 8)
    assert (curve.rows % 8 == 0).all()
