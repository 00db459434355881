"""The repurchase model: who buys within the horizon after the cutoff.

1. The test repeats what production does: customers as they are at the test cutoff,
   scored by a model that was fitted at earlier cutoffs whose labels were complete
   by then. Most of these customers were fitted on at an earlier cutoff, as in
   production.
2. The metrics that end in `_unseen` answer a stricter question: each test row is
   scored by a model that was fitted without the customer's group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from scorewire_training.config import Progress
from scorewire_training.config_file import record_table
from scorewire_training.estimators import LogOddsCalibrator
from scorewire_training.evaluation import evaluate_probabilities
from scorewire_training.output.feature_table import FEATURES_FILE
from scorewire_training.output.publishing import TrainedModel, check_new, publish
from scorewire_training.repurchase.candidates import build_candidates
from scorewire_training.repurchase.config import DEFAULT_HORIZON_DAYS, RepurchaseConfig
from scorewire_training.repurchase.cutoffs import Observations, choose_cutoffs, observe_test, observe_training
from scorewire_training.repurchase.data import day_after, read_transactions
from scorewire_training.repurchase.feature_table import build_feature_table
from scorewire_training.repurchase.features import DESCRIPTIONS
from scorewire_training.repurchase.folds import GROUPS, draw_groups, fold_over_time
from scorewire_training.repurchase.narrative import (
    LIMITS,
    LOSS_NAME,
    RULE,
    build_sections,
    describe_evaluation_protocol,
)
from scorewire_training.study.candidates import Candidate, TunedCandidate, choose, tune
from scorewire_training.study.learning_curve import LearningCurve, measure_learning_curve
from scorewire_training.study.validation import CrossValidation, Fold
from scorewire_training.study.xgboost_backend import Backend, open_backend
from scorewire_training.tables.notes import OnRead
from scorewire_training.training_result import PredictionKind, TrainingResult

NAME = "repurchase"
_Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The tuned candidates, the chosen one, and its learning curve."""

    tuned: tuple[TunedCandidate, ...]
    chosen: TunedCandidate
    candidate: Candidate
    learning_curve: LearningCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """The calibrated pipeline, and the test probabilities of models fitted without the customer's group."""

    pipeline: Pipeline
    unseen: _Floats


def train_repurchase(
    config: RepurchaseConfig, *, progress: Progress | None = None, on_read: OnRead | None = None
) -> TrainedModel:
    """Train, evaluate and export the model.

    Args:
        config: the settings.
        progress: called with a sentence at the start of each stage.
        on_read: called once with notes about how the table is read.

    Raises:
        TrainingError: the version exists, the data cannot be read or is too small
            for the settings, or MLflow failed; the message says what to do.
        ExportError: the bundle was not made.
    """
    tell = progress or (lambda _: None)
    check_new(NAME, config, private=True)
    config = record_table(config)
    return publish(fit_repurchase(config, progress=tell, on_read=on_read), config, progress=tell)


def fit_repurchase(
    config: RepurchaseConfig, *, progress: Progress, on_read: OnRead | None = None
) -> TrainingResult:
    """Fit and evaluate the model without writing anything.

    Raises:
        TrainingError: as for `train_repurchase`.
    """
    # On tables of this size one thread is faster, and sums do not depend on the number of cores.
    with threadpool_limits(limits=1):
        return _fit_and_evaluate(config, progress, on_read)


def _fit_and_evaluate(config: RepurchaseConfig, progress: Progress, on_read: OnRead | None) -> TrainingResult:
    progress("Reading and cleaning the transactions")
    transactions = read_transactions(config.data, config)
    if on_read is not None:
        on_read(transactions.notes)
    lines, horizon, seed = transactions.lines, config.horizon_days, config.seed
    cutoffs = choose_cutoffs(lines, config.cut, horizon)
    progress("Building features from before each cutoff")
    training = observe_training(lines, cutoffs, horizon_days=horizon, seed=seed)
    test = observe_test(lines, cutoffs, horizon_days=horizon, columns=training.features.columns)

    folds = fold_over_time(training, horizon_days=horizon, seed=seed)
    with open_backend(config.backend) as backend:
        search = _search(training, folds, config, backend, progress)
        fitted = _fit(search, training, test, config, progress)

    progress(f"Evaluating on {len(test.labels):,} customers")
    predictions = predict_probability(fitted.pipeline, test.features)
    horizon_option = () if horizon == DEFAULT_HORIZON_DAYS else ("--horizon-days", str(horizon))
    return TrainingResult(
        name=NAME,
        title="Who buys again?",
        description=f"Probability that a customer buys within {horizon} days from the cut on.",
        kind=PredictionKind.PROBABILITY,
        pipeline=fitted.pipeline,
        sample=training.features,
        sample_target=training.labels.astype(np.float64),
        test=test.features,
        target=test.labels.astype(np.float64),
        predictions=predictions,
        metrics=_evaluate(training, test, predictions, fitted.unseen, seed),
        feature_descriptions={name: DESCRIPTIONS[name] for name in training.features.columns},
        candidates=search.tuned,
        chosen=search.chosen.name,
        rule=RULE,
        loss_name=LOSS_NAME,
        table_notes=transactions.notes,
        steps=transactions.steps,
        evaluation_protocol=describe_evaluation_protocol(
            transactions, cutoffs, training, test, folds=folds, horizon_days=horizon
        ),
        limits=LIMITS,
        learning_curve=search.learning_curve,
        sections=build_sections(fitted.pipeline, test, predictions, seed),
        features_options=horizon_option,
        # As of today, to score who buys from now on.
        private_files={FEATURES_FILE: build_feature_table(lines, day_after(lines), horizon)},
    )


def predict_probability(pipeline: Pipeline, rows: pd.DataFrame) -> _Floats:
    """The probability of a purchase within the horizon, shape [rows]."""
    return np.asarray(pipeline.predict_proba(rows)[:, 1], dtype=np.float64)


def _search(
    training: Observations,
    folds: list[Fold],
    config: RepurchaseConfig,
    backend: Backend,
    progress: Progress,
) -> _Search:
    candidates = build_candidates(training.features.columns, config.seed, backend)
    validation = CrossValidation(
        rows=training.features,
        target=training.labels,
        folds=folds,
        predict=predict_probability,
        loss=_measure_loss,
    )
    tuned = tune(candidates, validation, trials=config.trials, seed=config.seed, progress=progress)
    chosen = choose(tuned)
    candidate = next(candidate for candidate in candidates if candidate.name == chosen.name)
    curve = measure_learning_curve(
        candidate,
        chosen.parameters,
        validation,
        units=training.customers,
        loss_name=LOSS_NAME,
        seed=config.seed,
        progress=progress,
    )
    return _Search(tuned=tuned, chosen=chosen, candidate=candidate, learning_curve=curve)


def _fit(
    search: _Search,
    training: Observations,
    test: Observations,
    config: RepurchaseConfig,
    progress: Progress,
) -> _Fitted:
    """Fit on all training rows, and calibrate on out-of-fold probabilities by group of customers.

    All training cutoffs are used to calibrate. The latest alone is a horizon old,
    and with a horizon of a quarter it predicts the coming season worse than the
    mean of all does.
    """
    everyone = draw_groups(np.concatenate([training.customers, test.customers]), config.seed)
    groups, test_groups = everyone[: len(training.labels)], everyone[len(training.labels) :]
    held_out = np.empty(len(training.labels))
    unseen = np.empty(len(test.labels))
    for group in range(GROUPS):
        progress(f"Fitting {search.chosen.name} without customers of group {group + 1} of {GROUPS}")
        others, own, tested = groups != group, groups == group, test_groups == group
        pipeline = search.candidate.build(search.chosen.parameters)
        pipeline.fit(training.features[others], training.labels[others])
        held_out[own] = predict_probability(pipeline, training.features[own])
        unseen[tested] = predict_probability(pipeline, test.features[tested])
    progress(f"Fitting {search.chosen.name} on {len(training.labels):,} rows")
    pipeline = search.candidate.build(search.chosen.parameters).fit(training.features, training.labels)
    calibrator = LogOddsCalibrator(pipeline[-1]).fit_probabilities(held_out, training.labels)
    calibrated = Pipeline([*pipeline.steps[:-1], ("model", calibrator)])
    return _Fitted(pipeline=calibrated, unseen=calibrator.calibrate(unseen))


def _evaluate(
    training: Observations, test: Observations, predictions: _Floats, unseen: _Floats, seed: int
) -> dict[str, float]:
    candidates = {
        "recency": -test.features["recency_days"],
        "frequency": test.features["frequency"],
        "monetary": test.features["monetary"],
    }
    metrics = evaluate_probabilities(test.labels, predictions, baselines=candidates, seed=seed)
    strict = evaluate_probabilities(test.labels, unseen, baselines=candidates, seed=seed)
    for name in ("auc", "auc_lead", "calibration_error"):
        for bound in ("", "_low", "_high"):
            metrics[f"{name}_unseen{bound}"] = strict[f"{name}{bound}"]
    metrics["log_loss_unseen"] = strict["log_loss"]
    metrics |= {
        "training_positive_share": float(training.labels.mean()),
        "training_rows": float(len(training.labels)),
        "test_rows": float(len(test.labels)),
    }
    return metrics


def _measure_loss(truth: _Floats, probabilities: _Floats) -> float:
    return float(log_loss(truth, probabilities))
