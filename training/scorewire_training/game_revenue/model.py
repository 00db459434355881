"""The revenue model: what a user brings in the first week.

Revenue is zero for many users, cents for most and thousands for a few, so that
errors are better measured as shares than in dollars: the Tweedie deviance with
its log link does that, takes zeros, and its predictions cannot be negative. Its
variance power, and the number of trees, are chosen on the validation part by
one rule (`_choose`). The test part is scored once, by the model chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from xgboost import XGBRegressor

from scorewire_training.evaluation import evaluate_amounts
from scorewire_training.export import export_bundle
from scorewire_training.game_revenue.data import (
    DESCRIPTIONS,
    NUMBERS,
    TEXTS,
    Part,
    Split,
    read_users,
    split_users,
)
from scorewire_training.trained_model import Progress, TrainedModel, TrainingConfig
from scorewire_training.transformers import FrequencyEncoder, TextCleaner

NAME = "game-revenue"
# Dollars: users above are few and dominate every mean.
ORDINARY_LIMIT = 1_000.0
_VARIANCE_POWERS = (1.3, 1.5, 1.7, 1.9)
# XGBoost adds the trees' leaves in single precision, and the link makes the error of the
# sum a relative one: with twice as many it comes near what a bundle may differ by.
_MAX_TREES = 80
_PATIENCE = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRevenueConfig(TrainingConfig):
    """How to train the revenue model."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    variance_power: float
    regressor: XGBRegressor
    mae_share: float


def train_game_revenue(config: GameRevenueConfig, *, progress: Progress | None = None) -> TrainedModel:
    """Train, evaluate and export the model.

    Args:
        config: the settings.
        progress: called with a sentence as each stage begins.

    Raises:
        TrainingError: a setting or the data do not allow it; the message says
            what to do.
        ExportError: the bundle could not be made.
    """
    tell = progress or (lambda _: None)
    config.check_output(NAME)
    tell("Reading the users" if config.data else "Generating users")
    users, notes = read_users(config.data, seed=config.seed)
    split = split_users(users, seed=config.seed)
    constant = float(np.median(split.training.revenue))

    pipeline, chosen = _fit(split, constant, config.seed, tell)

    tell(f"Evaluating on {len(split.test.revenue):,} users held out")
    metrics = evaluate_amounts(
        split.test.revenue,
        pipeline.predict(split.test.features),
        constant=constant,
        ordinary_limit=ORDINARY_LIMIT,
    )
    metrics |= {
        "training_rows": float(len(split.training.revenue)),
        "test_rows": float(len(split.test.revenue)),
        "zero_share": float((split.test.revenue == 0).mean()),
    }
    exported = export_bundle(
        pipeline,
        sample=split.training.features,
        name=NAME,
        version=config.version,
        output_dir=config.output_dir,
        description="Revenue in dollars that a user brings in the first seven days.",
        metrics=metrics,
        feature_descriptions=DESCRIPTIONS,
        progress=progress,
    )
    return TrainedModel(
        pipeline=pipeline,
        sample=split.training.features,
        test=split.test.features,
        target=split.test.revenue,
        metrics=metrics,
        export=exported,
        notes=(
            *notes,
            f"{len(split.training.revenue):,} users to fit on, "
            f"{len(split.validation.revenue):,} to choose by, {len(split.test.revenue):,} to judge by, "
            "alike in revenue and country",
            f"chosen: Tweedie with variance power {chosen.variance_power}, "
            f"{chosen.regressor.best_iteration + 1} trees",
        ),
    )


def _fit(split: Split, constant: float, seed: int, tell: Progress) -> tuple[Pipeline, _Candidate]:
    """The chosen pipeline, fitted on the training part alone."""
    encoder = _build_encoder(seed)
    tell("Encoding the texts")
    # The encoder learns log(1 + revenue), the last step revenue itself: were it
    # dollars, the few large users would move every mean, and an unseen country,
    # which gets the mean of all, would look like theirs. Its fit_transform is
    # cross-fitted: no row of training sees its own revenue.
    encoded = encoder.fit_transform(split.training.features, np.log1p(split.training.revenue))
    validation = encoder.transform(split.validation.features)
    candidates = []
    for power in _VARIANCE_POWERS:
        tell(f"Fitting with variance power {power}")
        regressor = XGBRegressor(
            objective="reg:tweedie",
            tweedie_variance_power=power,
            eval_metric=f"tweedie-nloglik@{power}",
            n_estimators=_MAX_TREES,
            early_stopping_rounds=_PATIENCE,
            learning_rate=0.25,
            max_depth=5,
            subsample=0.8,
            colsample_bytree=0.8,
            # Faster than two on tables of this size, by far where cores are busy.
            n_jobs=1,
            random_state=seed,
        )
        regressor.fit(
            encoded, split.training.revenue, eval_set=[(validation, split.validation.revenue)], verbose=False
        )
        share = _mae_share(split.validation, regressor.predict(validation), constant)
        candidates.append(_Candidate(power, regressor, share))
    chosen = _choose(candidates)
    return Pipeline([("features", encoder), ("model", chosen.regressor)]), chosen


def _choose(candidates: list[_Candidate]) -> _Candidate:
    """The rule: the least `_mae_share` on the validation part."""
    return min(candidates, key=lambda candidate: candidate.mae_share)


def _mae_share(part: Part, predictions: NDArray[np.float64], constant: float) -> float:
    """Mean absolute error as a share of the constant's, over all and over ordinary users, averaged.

    Over all users alone, a handful of them would choose the model.
    """
    metrics = evaluate_amounts(part.revenue, predictions, constant=constant, ordinary_limit=ORDINARY_LIMIT)
    shares = [
        metrics[metric] / metrics[f"{metric}_constant_baseline"]
        for metric in ("mae", "mae_ordinary")
        if metrics[f"{metric}_constant_baseline"]
    ]
    return float(np.mean(shares)) if shares else metrics["mae"]


def _build_encoder(seed: int) -> ColumnTransformer:
    """Each text by its mean target and by its frequency, beside the numbers as they are."""

    def clean_then(step: object) -> Pipeline:
        return Pipeline([("clean", TextCleaner()), ("encode", step)])

    cross_fitting = KFold(n_splits=5, shuffle=True, random_state=seed)
    return ColumnTransformer(
        [
            (
                "target",
                clean_then(TargetEncoder(target_type="continuous", cv=cross_fitting)),
                list(TEXTS),
            ),
            ("frequency", clean_then(FrequencyEncoder()), list(TEXTS)),
            ("numbers", "passthrough", list(NUMBERS)),
        ],
        # Zeros of a sparse matrix would be missing to XGBoost.
        sparse_threshold=0,
    )
