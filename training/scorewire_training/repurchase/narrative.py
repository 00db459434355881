"""The words and tables of a repurchase model's report: its rule, evaluation protocol, limits and sections."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_training.evaluation import tabulate_reliability
from scorewire_training.evaluation.formats import SHARE
from scorewire_training.repurchase.cutoffs import Cutoffs, Observations
from scorewire_training.repurchase.data import Transactions
from scorewire_training.repurchase.feature_families import tabulate_families
from scorewire_training.repurchase.features import SEGMENT
from scorewire_training.repurchase.segments import tabulate_segments
from scorewire_training.study.validation import Fold
from scorewire_training.training_result import ReportSection

LOSS_NAME = "log loss"
RULE = (
    "the least mean log loss over the folds; a simpler candidate is taken in its place where its loss is "
    "within one standard error of the difference"
)
LIMITS = (
    "It ranks customers better than it estimates the level: the share who buy again changes with the season, "
    "and a season outside the training cutoffs shifts all probabilities. calibration_error_level_known is "
    "the error that is left once the level is known: if it matters, correct the level after some weeks.",
    "It says who is likely to buy, not whom an offer would make buy: for that, hold a random group out of a "
    "campaign and compare.",
    "It scores customers with at least one purchase before the cutoff; of others it knows nothing.",
    "Train it again at least once a horizon: it learns from the cutoffs before its own.",
)


def describe_evaluation_protocol(
    transactions: Transactions,
    cutoffs: Cutoffs,
    training: Observations,
    test: Observations,
    *,
    folds: list[Fold],
    horizon_days: int,
) -> tuple[str, ...]:
    """Which rows and times were used to fit, choose, calibrate and test the model, one sentence each."""
    days = [day.date() for day in reversed(cutoffs.training)]
    shares = [
        f"{training.labels[training.cutoffs == day.to_datetime64()].mean():.1%}"
        for day in reversed(cutoffs.training)
    ]
    apart = all(
        training.cutoffs[fitted_on].max() + np.timedelta64(horizon_days, "D")
        <= training.cutoffs[validated_on].min()
        for fitted_on, validated_on in folds
    )
    validated = (
        "cutoffs whose labels were complete by then."
        if apart
        else "earlier cutoffs, whose labels overlap in time with the validated ones: the history is short."
    )
    lines = transactions.lines
    met = np.isin(test.customers, training.customers).mean()
    return (
        f"Transactions are from {lines['time'].iloc[0].date()} to {lines['time'].iloc[-1].date()}. A feature "
        f"at a cutoff is made of those before it, a label of the {horizon_days} days from it on.",
        f"Fitted on the customers at {', '.join(map(str, days))}, of whom {', '.join(shares)} bought again. "
        f"The last of those labels was complete at {cutoffs.test.date()}.",
        "Tuned and chosen by folds over time: a group of customers at a later cutoff is validated by a model "
        "fitted on other customers at " + validated,
        "Calibrated on the out-of-fold probabilities of models fitted without a group of customers, at all "
        "training cutoffs.",
        f"Evaluated on all customers at {cutoffs.test.date()}, as production would score them: {met:.0%} "
        "were fitted on as they were at an earlier cutoff, and no training label reaches past this one. The "
        "metrics called unseen are of the same rows, each scored by a model that was fitted on no row of "
        "that customer.",
    )


def build_sections(
    pipeline: Pipeline, test: Observations, predictions: NDArray[np.float64], seed: int
) -> tuple[ReportSection, ...]:
    """The parts of the report that only this use case has."""
    segments = tabulate_segments(test.features, test.labels)
    means = pd.Series(predictions).groupby(test.features[SEGMENT]).mean()
    segments["mean_probability"] = means.loc[segments.index]
    return (
        ReportSection(
            title="Segments",
            text="Customers at the test cutoff by recency and frequency: their number, the share that bought "
            "again, and the mean predicted probability.",
            table=segments,
            chart=("share", "repurchased_share", "mean_probability"),
            units=dict.fromkeys(("share", "repurchased_share", "mean_probability"), SHARE),
        ),
        ReportSection(
            title="Reliability",
            text="Customers in ten groups of equal size by rising probability: predicted and actual.",
            table=tabulate_reliability(test.labels, predictions),
            chart=("mean_probability", "positive_share"),
            units=dict.fromkeys(("mean_probability", "positive_share"), SHARE),
        ),
        ReportSection(
            title="What the model goes by",
            text="The AUC that is lost on the test rows when all features of a family are shuffled together; "
            "about zero means that the model does as well without them.",
            table=tabulate_families(pipeline, test.features, test.labels, seed=seed),
            chart=("AUC lost",),
        ),
    )
