"""The repurchase model: who buys within the horizon after the cut.

The test rows are customers that no row of training is of, at a cut that lies a
full horizon after the last cut of training: the model is judged on people and
on a time it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from xgboost import XGBClassifier

from scorewire_training.errors import TrainingError
from scorewire_training.evaluation import evaluate_probabilities
from scorewire_training.export import export_bundle
from scorewire_training.repurchase.data import Transactions, read_transactions
from scorewire_training.repurchase.features import COUNTRY, DESCRIPTIONS, build_features, build_labels
from scorewire_training.trained_model import Progress, TrainedModel, TrainingConfig
from scorewire_training.transformers import TextCleaner

NAME = "repurchase"
_TEST_SHARE = 0.3
_MAX_TRAINING_CUTS = 4
_MIN_ROWS = 50
_MIN_ROWS_OF_A_CLASS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RepurchaseConfig(TrainingConfig):
    """How to train the repurchase model.

    Args:
        cut: the day at whose beginning the test rows are taken; None is the last
            day of the data less the horizon, the latest that has a full horizon.
        horizon_days: the label is a purchase within so many days from the cut on.

    Raises:
        TrainingError: a value is out of its range.
    """

    cut: date | None = None
    horizon_days: int = 90

    def __post_init__(self) -> None:
        # Two arguments: slots make a new class, which a bare super() does not know.
        super(RepurchaseConfig, self).__post_init__()
        if not 1 <= self.horizon_days <= 3650:
            raise TrainingError(f"horizon_days is {self.horizon_days}: choose 1 to 3650")


@dataclass(frozen=True, slots=True)
class _Cuts:
    test: pd.Timestamp
    training: tuple[pd.Timestamp, ...]


def train_repurchase(config: RepurchaseConfig, *, progress: Progress | None = None) -> TrainedModel:
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
    tell("Reading and cleaning the transactions")
    transactions = read_transactions(config.data)
    cuts = _choose_cuts(transactions, config)
    horizon = config.horizon_days

    tell("Building features from before each cut")
    lines = transactions.lines
    held_out = _draw_customers(lines["customer"], config.seed)
    tables = [build_features(lines, cut) for cut in cuts.training]
    tables = [table[~table.index.isin(held_out)] for table in tables]
    sample = pd.concat(tables)
    labels = np.concatenate(
        [
            build_labels(lines, table.index, cut, horizon)
            for table, cut in zip(tables, cuts.training, strict=True)
        ]
    )
    test = build_features(lines, cuts.test)
    test = test[test.index.isin(held_out)]
    truth = build_labels(lines, test.index, cuts.test, horizon)
    _check_classes(labels, "training")
    _check_classes(truth, "test")

    tell(f"Fitting on {len(sample):,} rows")
    pipeline = _build_pipeline(sample, config.seed).fit(sample, labels)

    tell(f"Evaluating on {len(test):,} unseen customers")
    metrics = evaluate_probabilities(
        truth,
        pipeline.predict_proba(test)[:, 1],
        baselines={
            "recency": -test["recency_days"],
            "frequency": test["frequency"],
            "monetary": test["monetary"],
        },
        seed=config.seed,
    )
    metrics |= {
        "training_positive_share": float(labels.mean()),
        "training_rows": float(len(sample)),
        "test_rows": float(len(test)),
    }
    exported = export_bundle(
        pipeline,
        sample=sample.reset_index(drop=True),
        name=NAME,
        version=config.version,
        output_dir=config.output_dir,
        description=f"Probability that a customer buys within {horizon} days from the cut on.",
        metrics=metrics,
        feature_descriptions={column: DESCRIPTIONS[column] for column in sample.columns},
        progress=progress,
    )
    notes = (
        *transactions.notes,
        f"trained at {', '.join(str(cut.date()) for cut in cuts.training)}, "
        f"tested at {cuts.test.date()} on other customers, horizon {horizon} days",
    )
    return TrainedModel(
        pipeline=pipeline,
        sample=sample.reset_index(drop=True),
        test=test.reset_index(drop=True),
        target=truth.astype(np.float64),
        metrics=metrics,
        export=exported,
        notes=notes,
    )


def _choose_cuts(transactions: Transactions, config: RepurchaseConfig) -> _Cuts:
    """The test cut, and up to four of training: the latest a horizon before it, a third of one apart.

    No label of training reaches beyond the test cut, and every cut has a
    horizon of history before it.
    """
    horizon = pd.Timedelta(days=config.horizon_days)
    times = transactions.lines["time"]
    first, last = times.iloc[0].normalize(), times.iloc[-1].normalize()
    earliest, latest = first + 2 * horizon, last - horizon
    if latest < earliest:
        raise TrainingError(
            f"the data has {(last - first).days} days, {first.date()} to {last.date()}, and a horizon of "
            f"{config.horizon_days} days takes three times as many: pass a shorter horizon or more data"
        )
    test = latest if config.cut is None else pd.Timestamp(config.cut)
    if not earliest <= test <= latest:
        raise TrainingError(
            f"the cut {test.date()} is not from {earliest.date()} to {latest.date()}: a full horizon of "
            f"{config.horizon_days} days must follow it, and two must precede it to train on"
        )
    step = pd.Timedelta(days=max(1, config.horizon_days // 3))
    training = [test - horizon - i * step for i in range(_MAX_TRAINING_CUTS)]
    return _Cuts(test, tuple(cut for cut in training if cut >= first + horizon))


def _draw_customers(customers: pd.Series[str], seed: int) -> NDArray[np.object_]:
    """The customers held out for the test."""
    everyone = np.array(sorted(customers.unique()), dtype=object)
    rng = np.random.default_rng(seed)
    return rng.permutation(everyone)[: round(len(everyone) * _TEST_SHARE)]


def _check_classes(labels: NDArray[np.int64], part: str) -> None:
    positive = int(labels.sum())
    if len(labels) < _MIN_ROWS or min(positive, len(labels) - positive) < _MIN_ROWS_OF_A_CLASS:
        raise TrainingError(
            f"the {part} part has {len(labels)} rows, {positive} with a purchase within the horizon: "
            f"at least {_MIN_ROWS} rows and {_MIN_ROWS_OF_A_CLASS} of each kind are needed; pass more data, "
            "another cut or another horizon"
        )


def _build_pipeline(sample: pd.DataFrame, seed: int) -> Pipeline:
    numbers = [column for column in sample.columns if column != COUNTRY]
    steps: list[tuple[str, object, list[str]]] = [("numbers", "passthrough", numbers)]
    if COUNTRY in sample.columns:
        encoder = TargetEncoder(target_type="binary", cv=KFold(n_splits=5, shuffle=True, random_state=seed))
        steps.append(("country", Pipeline([("clean", TextCleaner()), ("encode", encoder)]), [COUNTRY]))
    return Pipeline(
        [
            # Zeros of a sparse matrix would be missing to XGBoost.
            ("features", ColumnTransformer(steps, sparse_threshold=0)),
            (
                "model",
                XGBClassifier(
                    n_estimators=150,
                    max_depth=3,
                    learning_rate=0.05,
                    min_child_weight=20,
                    subsample=0.8,
                    colsample_bytree=0.7,
                    # Faster than two on tables of this size, by far where cores are busy.
                    n_jobs=1,
                    random_state=seed,
                ),
            ),
        ]
    )
