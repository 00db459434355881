"""Candidate models, tuned on the same folds with the same number of trials, and the rule that chooses one.

The rule is the one-standard-error rule (Breiman et al. 1984, "Classification and
Regression Trees", 3.4.3). The best candidate has the least mean loss over the
folds. A simpler candidate, one that is listed before the best one, is chosen
instead where its loss is within one standard error of the best one's; the error
is that of the paired differences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import optuna
import sklearn
from sklearn.pipeline import Pipeline

from scorewire_training.config import Progress
from scorewire_training.errors import TrainingError
from scorewire_training.releases import SKLEARN_RELEASE
from scorewire_training.study.validation import CrossValidation

Parameters: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A kind of model: how a trial draws its parameters, and the unfitted pipeline for some parameters."""

    name: str
    suggest: Callable[[optuna.Trial], Parameters]
    build: Callable[[Parameters], Pipeline]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedCandidate:
    """A candidate after its tuning.

    Attributes:
        name: the candidate's name.
        parameters: the parameters of the best trial.
        fold_losses: the loss of the best trial on each fold; less is better.
        trials: the number of trials.
        seconds: the duration of the tuning.
    """

    name: str
    parameters: Parameters
    fold_losses: tuple[float, ...]
    trials: int
    seconds: float

    @property
    def loss(self) -> float:
        """The mean loss over the folds."""
        return float(np.mean(self.fold_losses))


def tune(
    candidates: Sequence[Candidate],
    validation: CrossValidation,
    *,
    trials: int,
    seed: int,
    progress: Progress,
) -> tuple[TunedCandidate, ...]:
    """Tune every candidate with Optuna's TPE sampler; the same seed gives the same result.

    Args:
        candidates: the candidates, from the simplest on.
        validation: the data, the folds and the loss.
        trials: the number of trials for each candidate.
        seed: the seed of the sampler.
        progress: called with a sentence before each trial.

    Raises:
        TrainingError: scikit-learn is older than 1.9.
    """
    if SKLEARN_RELEASE < (1, 9):
        raise TrainingError(
            f"training needs scikit-learn 1.9 or newer, and {sklearn.__version__} is installed: install a "
            "newer release; export_bundle and scorewire export work with older ones"
        )
    # At the default level, each trial writes a line to stderr.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuned = []
    for candidate in candidates:
        begin = time.monotonic()
        study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed))
        for number in range(trials):
            progress(f"Tuning {candidate.name}: trial {number + 1} of {trials}")
            trial = study.ask()
            parameters = dict(candidate.suggest(trial))
            losses = [
                validation.measure(validation.fit(candidate.build(parameters), training), held_out)
                for training, held_out in validation.folds
            ]
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
    """The candidate that the rule of this module chooses; `tuned` begins with the simplest candidate."""
    best = min(tuned, key=lambda candidate: candidate.loss)
    for candidate in tuned:
        if candidate is best:
            break
        differences = np.subtract(candidate.fold_losses, best.fold_losses)
        if len(differences) > 1 and differences.mean() <= differences.std(ddof=1) / np.sqrt(len(differences)):
            return candidate
    return best
