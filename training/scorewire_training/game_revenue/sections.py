"""The parts of the report that only the revenue model has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_training.config import Progress
from scorewire_training.estimators import HurdleRegressor
from scorewire_training.evaluation import tabulate_deciles
from scorewire_training.evaluation.formats import SHARE
from scorewire_training.game_revenue.candidates import LOSS_NAME
from scorewire_training.game_revenue.data import EXPOSURE, TEXTS, Part, draw_folds, group_countries
from scorewire_training.study.learning_curve import LearningCurve
from scorewire_training.study.validation import Loss
from scorewire_training.training_result import ReportSection

Fit: TypeAlias = Callable[[Part], Pipeline]

_RESAMPLES = 200
# Shares of the training rows, in tenths.
_CURVE_TENTHS = (1, 2, 4, 7, 10)
_EVENTS = 100.0
_UNSEEN = "zz"
_COUNTRY_ROWS = 200
_MAX_COUNTRIES_SHOWN = 20
_EVENT_NAMES = " or ".join(EXPOSURE)


def show_deciles(test: Part, predictions: NDArray[np.float64]) -> ReportSection:
    """Predicted and actual revenue, by ascending prediction."""
    return ReportSection(
        title="Calibration",
        text="Test users in ten groups of equal size by rising prediction; mean dollars of each group. "
        "Both columns agree if the sums of the model can be trusted.",
        table=tabulate_deciles(test.revenue, predictions),
        chart=("predicted", "actual"),
        units={"predicted": "$", "actual": "$"},
    )


def show_countries(test: Part, predictions: NDArray[np.float64], constant: float) -> ReportSection:
    """Errors by group of countries."""
    group = group_countries(test.features["country"]).replace("", "others")
    frame = pd.DataFrame(
        {
            "country": group,
            "users": 1,
            "predicted": predictions,
            "actual": test.revenue,
            "error": np.abs(predictions - test.revenue),
            "error of the median": np.abs(constant - test.revenue),
        }
    )
    by_country = frame.groupby("country", sort=True)
    table = by_country.mean().assign(users=by_country.size())
    return ReportSection(
        title="Countries",
        text="Test users by country, countries with few users together: mean dollars, and the mean absolute "
        "error next to that of predicting the training median for everyone.",
        table=table.sort_values("users", ascending=False, kind="stable"),
        units=dict.fromkeys(("predicted", "actual", "error", "error of the median"), "$"),
    )


def show_unseen_country(pipeline: Pipeline, fitted: Part) -> ReportSection:
    """The mean prediction for an unseen country, next to those for known countries."""
    countries = fitted.features["country"].dropna().str.strip().str.lower()
    shown = countries.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    names = [*shown.index[:_MAX_COUNTRIES_SHOWN], _UNSEEN]
    table = pd.DataFrame(
        {
            "users": [int(shown.get(name, 0)) for name in names],
            "predicted": [float(predict_country(pipeline, fitted, name).mean()) for name in names],
        },
        index=pd.Index([*names[:-1], "unseen"], name="country"),
    )
    return ReportSection(
        title="An unseen country",
        text=f"Mean prediction, in dollars, for the same {_COUNTRY_ROWS} users with {_EVENTS:.0f} events 2, "
        "as if all were from that country: an unseen country must be within the range of ordinary ones.",
        table=table,
        units={"predicted": "$"},
    )


def predict_country(pipeline: Pipeline, part: Part, country: str) -> NDArray[np.float64]:
    """Predictions for up to 200 users of a part, as if each had 100 events 2 and came from one country."""
    rows = part.features.head(_COUNTRY_ROWS)
    events = {"event_1": 0.0, "event_2": _EVENTS, "event_3": 0.0}
    return np.asarray(pipeline.predict(rows.assign(country=country, country_region="", **events)))


def show_hurdle(pipeline: Pipeline, test: Part) -> tuple[ReportSection, ...]:
    """Predicted and actual share of users with revenue; empty where the model has no hurdle."""
    model = pipeline[-1].regressor_
    active = test.take(has_events(test))
    if not isinstance(model, HurdleRegressor) or not len(active.revenue):
        return ()
    probabilities = model.predict_some(pipeline[:-1].transform(active.features))
    return (
        ReportSection(
            title="Will there be revenue",
            text=f"Test users with {_EVENT_NAMES} in ten groups by rising probability of revenue: the mean "
            "probability, and the share that had revenue.",
            table=tabulate_deciles((active.revenue > 0).astype(np.float64), probabilities),
            chart=("predicted", "actual"),
            units={"predicted": SHARE, "actual": SHARE},
        ),
    )


def show_without_events(pipeline: Pipeline, fitted: Part, test: Part) -> ReportSection:
    """Users without events: their revenue, and the one prediction that all of them get."""
    lines = {}
    for name, part in (("training", fitted), ("test", test)):
        idle = part.revenue[~has_events(part)]
        lines[name] = (
            len(idle),
            float((idle > 0).mean()) if len(idle) else np.nan,
            float(idle.mean()) if len(idle) else np.nan,
            float(pipeline[-1].amount_without_exposure_),
        )
    table = pd.DataFrame.from_dict(
        lines, orient="index", columns=["users", "with revenue", "actual", "predicted"]
    )
    return ReportSection(
        title="Users without events",
        text=f"Without {_EVENT_NAMES} there is no rate to multiply, so all such users get one prediction: "
        "the mean revenue of those in training, counting one more who brings the least that is expected of "
        "any user with events. The prediction is never above that least amount, and never zero.",
        table=table.rename_axis("part"),
        units={"with revenue": SHARE, "actual": "$", "predicted": "$"},
    )


def has_events(part: Part) -> NDArray[np.bool_]:
    """Whether each user has events that revenue grows with, shape [rows]."""
    return np.asarray((part.features[list(EXPOSURE)] > 0).any(axis=1), dtype=np.bool_)


def ablate_texts(
    fit: Fit, training: Part, validation: Part, *, loss: Loss, seed: int, progress: Progress
) -> ReportSection:
    """Ablation: the loss on the validation part when the model is fitted without one text column.

    Args:
        fit: fits the chosen candidate.
        training: the part to fit on.
        validation: the part to measure the loss on.
        loss: the loss of true values and predictions.
        seed: the seed of the bootstrap.
        progress: called with a sentence before each fit.
    """

    def predict_without(columns: tuple[str, ...]) -> NDArray[np.float64]:
        progress(f"Fitting without {', '.join(columns) or 'leaving anything out'}")
        # A column that is empty in every row carries no information.
        empty = dict.fromkeys(columns, "")
        part = Part(training.features.assign(**empty), training.revenue)
        return np.asarray(fit(part).predict(validation.features.assign(**empty)))

    whole = predict_without(())
    lines = {"none": (loss(validation.revenue, whole), 0.0, 0.0, 0.0)}
    for name, columns in (*((text, (text,)) for text in TEXTS), ("all six", TEXTS)):
        without = predict_without(columns)
        low, high = _bootstrap_difference(validation.revenue, without, whole, loss, seed)
        own = loss(validation.revenue, without)
        lines[name] = (own, own - lines["none"][0], low, high)
    table = pd.DataFrame.from_dict(
        lines, orient="index", columns=["loss", "loss added", "low", "high"]
    ).rename_axis("left out")
    return ReportSection(
        title="Ablation of the text columns",
        text="Loss of the chosen model on the validation part when it is fitted on the training part without "
        "a column. The 95 % interval of the added loss is a bootstrap over the validation users. Where it "
        "reaches zero or below, the column is of no use that can be told, or other columns have the same "
        "information.",
        table=table,
    )


def measure_stratified_curve(
    fit: Fit, training: Part, validation: Part, *, loss: Loss, seed: int, progress: Progress
) -> LearningCurve:
    """The loss for growing numbers of users to fit on.

    Args:
        fit: fits the chosen candidate.
        training: the part whose growing shares are fitted on.
        validation: the part to measure the loss on.
        loss: the loss of true values and predictions.
        seed: the seed of the draw of users.
        progress: called with a sentence before each fit.
    """
    sizes, fitted, validated = [], [], []
    tenths = draw_folds(training, 10, seed=seed)
    for count in _CURVE_TENTHS:
        some = training.take(tenths < count)
        if not (some.revenue > 0).any():
            continue
        progress(f"Fitting on {len(some.revenue):,} users for the learning curve")
        pipeline = fit(some)
        sizes.append(float(len(some.revenue)))
        fitted.append(loss(some.revenue, np.asarray(pipeline.predict(some.features))))
        validated.append(loss(validation.revenue, np.asarray(pipeline.predict(validation.features))))
    return LearningCurve(
        loss_name=LOSS_NAME, rows=np.array(sizes), training=np.array(fitted), validation=np.array(validated)
    )


def _bootstrap_difference(
    truth: NDArray[np.float64],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    loss: Loss,
    seed: int,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the difference of two losses on the same resamples."""
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(_RESAMPLES):
        rows = rng.integers(len(truth), size=len(truth))
        differences.append(loss(truth[rows], one[rows]) - loss(truth[rows], other[rows]))
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)
