"""The candidates, from the simplest on, and the parameters that a trial may draw for each.

The search spaces suit small tables with little signal: shallow trees, large leaves,
strong regularization. Trees take numbers as they are, missing ones included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder
from xgboost import XGBClassifier

from scorewire_training.estimators import TextCleaner
from scorewire_training.repurchase.features import TEXTS
from scorewire_training.study.candidates import Candidate, Parameters
from scorewire_training.study.xgboost_backend import LOCAL, Backend

_FOREST_TREES = 60
_RARE_TEXT = 20


def build_candidates(columns: pd.Index[str], seed: int, backend: Backend = LOCAL) -> tuple[Candidate, ...]:
    """Logistic regression, random forest, and three kinds of boosted trees.

    Args:
        columns: the names of the features.
        seed: the seed of every fit.
        backend: where XGBoost is fitted.
    """
    texts = [name for name in TEXTS if name in columns]
    numbers = [name for name in columns if name not in texts]

    def over_trees(estimator: Callable[[Parameters], Any]) -> Callable[[Parameters], Pipeline]:
        return lambda parameters: Pipeline(
            [("features", _encode_for_trees(numbers, texts, seed)), ("model", estimator(parameters))]
        )

    return (
        Candidate(
            name="logistic regression",
            suggest=lambda trial: {"C": trial.suggest_float("C", 1e-4, 1.0, log=True)},
            build=lambda parameters: Pipeline(
                [
                    ("features", _encode_for_lines(numbers, texts)),
                    ("model", LogisticRegression(max_iter=1_000, **parameters)),
                ]
            ),
        ),
        Candidate(
            name="random forest",
            suggest=lambda trial: {
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 8, 80, log=True),
                "max_features": trial.suggest_float("max_features", 0.1, 0.5),
            },
            build=over_trees(
                lambda parameters: RandomForestClassifier(
                    n_estimators=_FOREST_TREES, max_samples=0.5, n_jobs=1, random_state=seed, **parameters
                )
            ),
        ),
        Candidate(
            name="histogram gradient boosting",
            suggest=lambda trial: {
                "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
                "max_iter": trial.suggest_int("max_iter", 30, 120),
                "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 16, log=True),
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 20, 150, log=True),
                "l2_regularization": trial.suggest_float("l2_regularization", 0.1, 30.0, log=True),
                "max_features": trial.suggest_float("max_features", 0.2, 0.8),
            },
            build=over_trees(
                lambda parameters: HistGradientBoostingClassifier(
                    early_stopping=False, random_state=seed, **parameters
                )
            ),
        ),
        Candidate(
            name="LightGBM",
            suggest=lambda trial: {
                "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
                "n_estimators": trial.suggest_int("n_estimators", 30, 120),
                "num_leaves": trial.suggest_int("num_leaves", 4, 16, log=True),
                "min_child_samples": trial.suggest_int("min_child_samples", 20, 150, log=True),
                "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 30.0, log=True),
                "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 0.8),
            },
            build=over_trees(
                lambda parameters: LGBMClassifier(
                    subsample=0.7,
                    subsample_freq=1,
                    n_jobs=1,
                    random_state=seed,
                    deterministic=True,
                    force_row_wise=True,
                    verbose=-1,
                    **parameters,
                )
            ),
        ),
        Candidate(
            name="XGBoost",
            suggest=_suggest_xgboost,
            build=over_trees(lambda parameters: _build_xgboost(parameters, seed, backend)),
        ),
    )


def _build_xgboost(parameters: Parameters, seed: int, backend: Backend) -> XGBClassifier:
    # On tables of this size one thread is faster than two, by far where cores are busy.
    return backend.classifier(subsample=0.7, n_jobs=1, random_state=seed, **parameters)


def _suggest_xgboost(trial: optuna.Trial) -> Parameters:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        "n_estimators": trial.suggest_int("n_estimators", 30, 120),
        "max_depth": trial.suggest_int("max_depth", 2, 4),
        "min_child_weight": trial.suggest_float("min_child_weight", 5.0, 80.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 30.0, log=True),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 0.8),
    }


def _encode_for_trees(numbers: list[str], texts: list[str], seed: int) -> ColumnTransformer:
    # Cross-fitted: no training row is encoded with its own label.
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    encoder = TargetEncoder(target_type="binary", cv=folds)
    return _side_by_side(("numbers", "passthrough", numbers), texts, encoder)


def _encode_for_lines(numbers: list[str], texts: list[str]) -> ColumnTransformer:
    # No feature is below 0, and most span orders of magnitude. The absolute value keeps
    # impossible inputs from an infinite logarithm.
    scale = Pipeline(
        [
            ("absolute", FunctionTransformer(np.absolute, feature_names_out="one-to-one")),
            ("log", FunctionTransformer(np.log1p, feature_names_out="one-to-one")),
            ("impute", SimpleImputer(keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    encoder = OneHotEncoder(min_frequency=_RARE_TEXT, handle_unknown="ignore", sparse_output=False)
    return _side_by_side(("numbers", scale, numbers), texts, encoder)


def _side_by_side(
    numbers: tuple[str, object, list[str]], texts: list[str], encoder: object
) -> ColumnTransformer:
    steps = [numbers]
    if texts:
        steps.append(("texts", Pipeline([("clean", TextCleaner()), ("encode", encoder)]), texts))
    # XGBoost would read the zeros of a sparse matrix as missing.
    return ColumnTransformer(steps, sparse_threshold=0)
