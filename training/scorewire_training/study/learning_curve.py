"""Learning curves: whether more rows would make a better model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.config import Progress
from scorewire_training.study.candidates import Candidate, Parameters
from scorewire_training.study.validation import CrossValidation

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
    validation: CrossValidation,
    *,
    units: NDArray[Any] | None = None,
    loss_name: str,
    seed: int,
    progress: Progress,
) -> LearningCurve:
    """Fit a candidate on growing shares of each fold's rows; the losses are means over the folds.

    Args:
        candidate: the candidate to fit.
        parameters: the tuned parameters.
        validation: the data, the folds to draw training rows from, and the loss.
        units: the unit of each row, such as its customer, shape [rows]; whole
            units are drawn. None draws single rows.
        loss_name: the loss in words.
        seed: the seed of the draw; a smaller share is part of a larger one.
        progress: called with a sentence before each share.
    """
    ids = np.arange(len(validation.rows)) if units is None else pd.factorize(units, sort=True)[0]
    rank = np.random.default_rng(seed).permutation(int(ids.max()) + 1)[ids]
    points = []
    for share in _SHARES:
        progress(f"Fitting {candidate.name} on {share:.0%} of the rows")
        measured = []
        for training, held_out in validation.folds:
            drawn = training[rank[training] <= np.quantile(rank[training], share)]
            if len(drawn) < _MIN_ROWS or len(np.unique(validation.target[drawn])) < 2:
                break
            pipeline = validation.fit(candidate.build(parameters), drawn)
            measured.append(
                (
                    len(drawn),
                    validation.measure(pipeline, drawn),
                    validation.measure(pipeline, held_out),
                )
            )
        else:
            points.append(np.mean(measured, axis=0))
    counts, training_losses, validation_losses = np.array(points, dtype=np.float64).reshape(-1, 3).T
    return LearningCurve(
        loss_name=loss_name, rows=counts, training=training_losses, validation=validation_losses
    )
