"""Rival models, each tuned on the same folds with the same budget, and the rule that chooses.

The rule: the least mean loss over the folds; but a candidate that is listed
before the best one, being simpler, is taken where its loss is within one
standard error of the best one's (Breiman et al. 1984, "Classification and
Regression Trees", 3.4.3; the error is that of the paired differences).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import optuna
import pandas as pd
import sklearn
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_training.config import Progress
from scorewire_training.errors import TrainingError
from scorewire_training.releases import SKLEARN_RELEASE

Parameters: TypeAlias = Mapping[str, Any]
# Amounts, or labels: whole numbers, whose names a classifier keeps.
Target: TypeAlias = NDArray[np.float64] | NDArray[np.int64]
# Positions of the rows to fit on, and of those to judge by.
Fold: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp]]
Predict: TypeAlias = Callable[[Pipeline, pd.DataFrame], NDArray[np.float64]]
Loss: TypeAlias = Callable[[NDArray[Any], NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A rival: its name, how a trial draws its parameters, and what it is with them, unfitted."""

    name: str
    suggest: Callable[[optuna.Trial], Parameters]
    build: Callable[[Parameters], Pipeline]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedCandidate:
    """What tuning found of a rival.

    Attributes:
        name: its name.
        parameters: the best trial's.
        fold_losses: the best trial's loss on each fold; less is better.
        trials: how many were tried.
        seconds: what they took.
    """

    name: str
    parameters: Parameters
    fold_losses: tuple[float, ...]
    trials: int
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.fold_losses))


def tune(
    candidates: Sequence[Candidate],
    rows: pd.DataFrame,
    target: Target,
    *,
    folds: Sequence[Fold],
    predict: Predict,
    loss: Loss,
    trials: int,
    seed: int,
    progress: Progress,
) -> tuple[TunedCandidate, ...]:
    """Tune every candidate by Optuna's TPE sampler; one seed gives one result.

    Args:
        candidates: from the simplest on.
        rows: features, one row for each of `target`.
        target: shape [rows].
        folds: what to fit on and what to judge by.
        predict: what a fitted pipeline says of rows, shape [rows].
        loss: of truth and predictions; less is better.
        trials: how many sets of parameters to try of each candidate.
        seed: of the sampler.
        progress: called with a sentence before each trial.

    Raises:
        TrainingError: scikit-learn is too old.
    """
    if SKLEARN_RELEASE < (1, 9):
        raise TrainingError(
            f"studies need scikit-learn 1.9 or newer, and {sklearn.__version__} is installed: install that; "
            "export_bundle and scorewire export take the older one"
        )
    # Each trial's outcome would be a line on stderr.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuned = []
    for candidate in candidates:
        begin = time.monotonic()
        study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))
        for number in range(trials):
            progress(f"Tuning {candidate.name}: trial {number + 1} of {trials}")
            trial = study.ask()
            parameters = dict(candidate.suggest(trial))
            losses = []
            for fitted_on, judged_by in folds:
                pipeline = candidate.build(parameters).fit(rows.iloc[fitted_on], target[fitted_on])
                losses.append(loss(target[judged_by], predict(pipeline, rows.iloc[judged_by])))
            trial.set_user_attr("parameters", parameters)
            trial.set_user_attr("fold_losses", losses)
            study.tell(trial, float(np.mean(losses)))
        best = study.best_trial.user_attrs
        tuned.append(
            TunedCandidate(
                name=candidate.name,
                parameters=best["parameters"],
                fold_losses=tuple(best["fold_losses"]),
                trials=trials,
                seconds=time.monotonic() - begin,
            )
        )
    return tuple(tuned)


def choose(tuned: Sequence[TunedCandidate]) -> TunedCandidate:
    """The candidate that the rule chooses; `tuned` is in the order of the candidates."""
    best = min(tuned, key=lambda candidate: candidate.loss)
    for candidate in tuned:
        if candidate is best:
            break
        differences = np.subtract(candidate.fold_losses, best.fold_losses)
        if len(differences) > 1 and differences.mean() <= differences.std(ddof=1) / np.sqrt(len(differences)):
            return candidate
    return best
