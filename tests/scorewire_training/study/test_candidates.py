from __future__ import annotations

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from scorewire_training.study.candidates import Candidate, Parameters, TunedCandidate, choose, tune
from scorewire_training.study.validation import CrossValidation


def _tuned(name: str, *losses: float) -> TunedCandidate:
    return TunedCandidate(name=name, parameters={}, fold_losses=losses, trials=1, seconds=0.0)


def test_the_least_loss_wins() -> None:
    assert (
        choose([_tuned("simple", 3.0, 3.1), _tuned("good", 1.0, 1.1), _tuned("bad", 5.0, 5.0)]).name == "good"
    )


def test_a_simpler_candidate_wins_within_one_standard_error_of_the_difference() -> None:
    best = _tuned("forest", 1.0, 1.0, 1.0)
    assert choose([_tuned("line", 0.9, 1.1, 1.05), best]).name == "line"
    # As close on average, but worse on every fold.
    assert choose([_tuned("line", 1.02, 1.02, 1.01), best]).name == "forest"
    # A candidate after the best one is not simpler.
    assert choose([best, _tuned("network", 0.9, 1.1, 1.05)]).name == "forest"


def _ridge() -> Candidate:
    def suggest(trial: optuna.Trial) -> Parameters:
        return {"alpha": trial.suggest_float("alpha", 1e-3, 1e3, log=True)}

    return Candidate(name="ridge", suggest=suggest, build=lambda drawn: Pipeline([("model", Ridge(**drawn))]))


def _squared(truth: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    return float(np.mean((truth - said) ** 2))


def test_tuning_tells_each_trial_and_gives_the_same_for_one_seed() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(60, 20)))
    target = rows[0].to_numpy() + rng.normal(size=60)
    halves = np.arange(30), np.arange(30, 60)
    told: list[str] = []

    def run(seed: int) -> TunedCandidate:
        (tuned,) = tune(
            [_ridge()],
            CrossValidation(
                rows=rows,
                target=target,
                folds=[halves, halves[::-1]],
                predict=lambda pipeline, part: pipeline.predict(part),
                loss=_squared,
            ),
            trials=4,
            seed=seed,
            progress=told.append,
        )
        return tuned

    first, again, other = run(1), run(1), run(2)
    assert told[:4] == [f"Tuning ridge: trial {number} of 4" for number in (1, 2, 3, 4)]
    assert first.trials == 4
    assert (first.parameters, first.fold_losses) == (again.parameters, again.fold_losses)
    assert first.parameters != other.parameters
    fitted = Ridge(**first.parameters).fit(rows.iloc[:30], target[:30])
    assert first.fold_losses[0] == _squared(target[30:], fitted.predict(rows.iloc[30:]))
