"""Learning curves: whether more rows would make a better model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.config import Progress
from scorewire_training.study.candidates import Candidate, Fold, Loss, Parameters, Predict, Target

_SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
_MIN_ROWS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """The training and validation loss for growing numbers of training rows; shape [sizes] each."""

    loss_name: str
    rows: NDArray[np.float64]
    training: NDArray[np.float64]
    validation: NDArray[np.float64]


def measure_learning_curve(
    candidate: Candidate,
    parameters: Parameters,
    rows: pd.DataFrame,
    target: Target,
    *,
    folds: Sequence[Fold],
    units: NDArray[Any] | None = None,
    predict: Predict,
    loss: Loss,
    loss_name: str,
    seed: int,
    progress: Progress,
) -> LearningCurve:
    """Fit a candidate on growing shares of each fold's rows; the losses are means over the folds.

    Args:
        candidate: the candidate to fit.
        parameters: the tuned parameters.
        rows: the features, one row for each value of `target`.
        target: the true values, shape [rows].
        folds: the rows to draw training rows from, and the rows to validate on.
        units: the unit of each row, such as its customer, shape [rows]; whole
            units are drawn. None draws single rows.
        predict: returns the predictions of a fitted pipeline, shape [rows].
        loss: the loss of true values and predictions; less is better.
        loss_name: the loss in words.
        seed: the seed of the draw; a smaller share is part of a larger one.
        progress: called with a sentence before each share.
    """
    ids = np.arange(len(rows)) if units is None else pd.factorize(units, sort=True)[0]
    rank = np.random.default_rng(seed).permutation(int(ids.max()) + 1)[ids]
    points = []
    for share in _SHARES:
        progress(f"Fitting {candidate.name} on {share:.0%} of the rows")
        measured = []
        for fitted_on, judged_by in folds:
            drawn = fitted_on[rank[fitted_on] <= np.quantile(rank[fitted_on], share)]
            if len(drawn) < _MIN_ROWS or len(np.unique(target[drawn])) < 2:
                break
            pipeline = candidate.build(parameters).fit(rows.iloc[drawn], target[drawn])
            measured.append(
                (
                    len(drawn),
                    loss(target[drawn], predict(pipeline, rows.iloc[drawn])),
                    loss(target[judged_by], predict(pipeline, rows.iloc[judged_by])),
                )
            )
        else:
            points.append(np.mean(measured, axis=0))
    counts, training, validation = np.array(points, dtype=np.float64).reshape(-1, 3).T
    return LearningCurve(loss_name=loss_name, rows=counts, training=training, validation=validation)
