"""The revenue model: the revenue of a user in the first week.

1. The candidates are tuned by cross-validation within the training part, and one is
   chosen by the rule of `study.candidates.choose`.
2. The ablation of text columns and the learning curve are measured on the
   validation part.
3. The chosen candidate is fitted on both parts, and the test part is scored once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_training.config import Progress
from scorewire_training.config_file import record_table
from scorewire_training.evaluation import evaluate_amounts
from scorewire_training.game_revenue.candidates import (
    LOSS_NAME,
    ORDINARY_LIMIT,
    build_candidates,
    encode_folds,
    fit_candidate,
    make_loss,
)
from scorewire_training.game_revenue.config import GameRevenueConfig
from scorewire_training.game_revenue.data import (
    DESCRIPTIONS,
    EXPOSURE,
    Part,
    Partition,
    clean_users,
    partition_users,
    read_rows,
)
from scorewire_training.game_revenue.sections import (
    ablate_texts,
    measure_stratified_curve,
    show_countries,
    show_deciles,
    show_hurdle,
    show_unseen_country,
    show_without_events,
)
from scorewire_training.output.publishing import TrainedModel, check_new, publish
from scorewire_training.study.candidates import choose, tune
from scorewire_training.study.validation import CrossValidation
from scorewire_training.study.xgboost_backend import Backend, open_backend
from scorewire_training.tables.notes import OnRead
from scorewire_training.training_result import CleaningStep, PredictionKind, TrainingResult

NAME = "game-revenue"
_FOLDS = 4
_RULE = (
    "The least mean loss over the folds; a simpler candidate, one that is listed before, is taken where its "
    "loss is within one standard error of the best one's. The chosen one is then fitted on the training and "
    "validation parts together."
)


def train_game_revenue(
    config: GameRevenueConfig, *, progress: Progress | None = None, on_read: OnRead | None = None
) -> TrainedModel:
    """Train, evaluate and export the model.

    Args:
        config: the settings.
        progress: called with a sentence at the start of each stage.
        on_read: called once with notes about how the table is read.

    Raises:
        TrainingError: the version exists, the data cannot be read or is too small,
            or MLflow failed; the message says what to do.
        ExportError: the bundle was not made.
    """
    tell = progress or (lambda _: None)
    check_new(NAME, config)
    config = record_table(config)
    return publish(fit_game_revenue(config, progress=tell, on_read=on_read), config, progress=tell)


def fit_game_revenue(
    config: GameRevenueConfig, *, progress: Progress, on_read: OnRead | None = None
) -> TrainingResult:
    """Fit and evaluate the model without writing anything.

    Raises:
        TrainingError: as for `train_game_revenue`.
    """
    progress("Reading the users" if config.data else "Generating users")
    read = read_rows(config.data, seed=config.seed, settings=config, target=True)
    if on_read is not None:
        on_read(read.notes)
    users, steps = clean_users(read)
    with open_backend(config.backend) as backend:
        result = _fit_and_evaluate(partition_users(users, seed=config.seed), steps, config, backend, progress)
    return replace(result, table_notes=read.notes)


def _fit_and_evaluate(
    partition: Partition,
    steps: tuple[CleaningStep, ...],
    config: GameRevenueConfig,
    backend: Backend,
    tell: Progress,
) -> TrainingResult:
    training, seed = partition.training, config.seed
    loss = make_loss(float(np.median(training.revenue)))
    candidates = build_candidates(seed, backend)
    tell("Encoding the texts of each fold")
    encoded = encode_folds(training, _FOLDS, seed=seed)
    tuned = tune(
        candidates,
        CrossValidation(
            rows=encoded.rows, target=encoded.target, folds=encoded.folds, predict=_predict, loss=loss
        ),
        trials=config.trials,
        seed=seed,
        progress=tell,
    )
    chosen = choose(tuned)
    candidate = next(candidate for candidate in candidates if candidate.name == chosen.name)

    def fit(part: Part) -> Pipeline:
        return fit_candidate(candidate, chosen.parameters, part, seed=seed)

    columns = ablate_texts(fit, training, partition.validation, loss=loss, seed=seed, progress=tell)
    curve = measure_stratified_curve(fit, training, partition.validation, loss=loss, seed=seed, progress=tell)

    fitted, test = training + partition.validation, partition.test
    tell(f"Fitting {chosen.name} on {len(fitted.revenue):,} users")
    pipeline = fit(fitted)
    tell(f"Evaluating on {len(test.revenue):,} users held out")
    predictions = _predict(pipeline, test.features)
    constant = float(np.median(fitted.revenue))
    metrics = evaluate_amounts(
        test.revenue,
        predictions,
        baselines={"constant": constant, "mean": float(fitted.revenue.mean())},
        ordinary_limit=ORDINARY_LIMIT,
        seed=seed,
    )
    metrics |= {
        "training_rows": float(len(fitted.revenue)),
        "test_rows": float(len(test.revenue)),
        "zero_share": float((test.revenue == 0).mean()),
    }
    return TrainingResult(
        name=NAME,
        title="What does a new user bring?",
        description="Revenue in dollars that a user brings in the first seven days.",
        kind=PredictionKind.AMOUNT,
        unit="$",
        pipeline=pipeline,
        sample=fitted.features,
        sample_target=fitted.revenue,
        test=test.features,
        target=test.revenue,
        predictions=predictions,
        metrics=metrics,
        feature_descriptions=DESCRIPTIONS,
        candidates=tuned,
        chosen=chosen.name,
        rule=_RULE,
        loss_name=LOSS_NAME,
        features_options=("--model", NAME),
        steps=steps,
        evaluation_protocol=_describe_evaluation_protocol(partition, chosen.name),
        limits=_list_limits(fitted),
        learning_curve=curve,
        sections=(
            show_deciles(test, predictions),
            show_countries(test, predictions, constant),
            show_without_events(pipeline, fitted, test),
            *show_hurdle(pipeline, test),
            columns,
            show_unseen_country(pipeline, fitted),
        ),
    )


def _predict(pipeline: Pipeline, rows: pd.DataFrame) -> NDArray[np.float64]:
    return np.asarray(pipeline.predict(rows), dtype=np.float64)


def _describe_evaluation_protocol(partition: Partition, chosen: str) -> tuple[str, ...]:
    sizes = [len(part.revenue) for part in (partition.training, partition.validation, partition.test)]
    return (
        f"{sizes[0]:,} users to fit on, {sizes[1]:,} to validate on, {sizes[2]:,} to test on, drawn at "
        "random, stratified by revenue and country",
        f"candidates were tuned by {_FOLDS}-fold cross-validation within the first part; chosen: {chosen}",
        "the ablation of columns and the learning curve were measured on the second part; the final model "
        "was then fitted on the first and second part together",
        "the third part was scored once, by the final model",
        f"metrics called ordinary are of the users with a revenue of up to ${ORDINARY_LIMIT:,.0f}; of the "
        "rules without a model, constant predicts the median of the users fitted on for everyone, and mean "
        "their mean",
        "events are of a user's first days, revenue is of the first seven: the table does not tell whether "
        "the events end before the revenue begins",
    )


def _list_limits(fitted: Part) -> tuple[str, ...]:
    country = fitted.features["country"].fillna("").str.strip().str.lower()
    by_country = pd.Series(fitted.revenue).groupby(country.to_numpy()).agg(["sum", "size"])
    richest = by_country.sort_values("sum", ascending=False, kind="stable").iloc[0]
    total = float(fitted.revenue.sum())
    few = max(1, round(len(fitted.revenue) / 100))
    top = float(np.sort(fitted.revenue)[-few:].sum())
    return (
        f"{richest['sum'] / total:.1%} of the revenue is of one country, {richest.name or 'not named'!r}, "
        f"with {richest['size']:,.0f} of {len(fitted.revenue):,} users: errors in dollars over all users "
        "are theirs",
        f"the top 1 % of users bring {top / total:.1%} of the revenue: sums over few users are uncertain",
        f"predictions are a rate times {' and '.join(EXPOSURE)}: if a service counts events over another "
        "time than the table, predictions are wrong by the same factor; counts above the largest one of "
        "training are clipped to it, and users without events all get the same small prediction",
        "an unknown country, region or device is scored as an average one, averaged over users and not over "
        "revenue",
    )
