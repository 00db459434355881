"""The result of a training run in memory, before anything is written.

A use case makes a `TrainingResult`. The report, the model card, the tracking and
the export read it, so that they know nothing of any use case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pandas as pd
from numpy import float64
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_training.study.candidates import TunedCandidate
from scorewire_training.study.learning_curve import LearningCurve
from scorewire_training.tables.notes import TableNote


class PredictionKind(Enum):
    """What kind of number a prediction is."""

    PROBABILITY = "probability"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningStep:
    """A step of data cleaning: its name, why it drops rows, how many it dropped, how many it kept."""

    name: str
    reason: str
    rows_taken: int
    rows_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSection:
    """A part of the report that only one use case has, such as the customer segments.

    Attributes:
        title: the heading.
        text: what the table shows, in a sentence or two.
        table: the table; its index becomes the first column.
        chart: columns of `table` to draw as bars, each in its own panel; empty
            draws no chart.
        units: by column of `table`, the unit of its numbers: `evaluation.formats.SHARE`,
            or that of an amount, such as "$".
    """

    title: str
    text: str
    table: pd.DataFrame
    chart: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A fitted pipeline, its evaluation, and how it was found.

    Attributes:
        name: the model's name.
        title: the question that the model answers, for people: "Who buys again?".
        description: what a prediction means, in one sentence.
        kind: whether predictions are probabilities of label 1, or amounts.
        unit: the unit of an amount, such as "$"; empty for probabilities.
        pipeline: the fitted pipeline; its `predict_proba` or `predict` predicts.
        sample: the rows that the pipeline was fitted on, as it takes them.
        sample_target: the true values for `sample`, shape [sample rows].
        test: rows that were used neither to fit nor to choose the model.
        target: the true values for `test`, shape [test rows].
        predictions: the predictions for `test`, shape [test rows].
        metrics: metrics on `test`, by name; see `evaluation.metrics` for the names.
        feature_descriptions: what each feature means, for people.
        candidates: the tuned candidates, from the simplest on.
        chosen: the name of the candidate that `pipeline` is.
        rule: how the candidate was chosen, in words.
        loss_name: the loss of the candidates, in words.
        table_notes: how the table was read.
        features_options: the options of `scorewire train features`, beside those of the
            table, that give the rows of tomorrow.
        steps: the steps of data cleaning, in order.
        evaluation_protocol: which rows and times were used to fit, to choose and to
            test the model, one sentence each.
        limits: what the model must not be used for, and what it does badly, one
            sentence each.
        learning_curve: the learning curve of the chosen candidate.
        sections: the parts of the report that only this use case has, in order.
        private_files: files about single customers, by name; they are never part of the bundle.
    """

    name: str
    title: str
    description: str
    kind: PredictionKind
    unit: str = ""
    pipeline: Pipeline
    sample: pd.DataFrame
    sample_target: NDArray[float64]
    test: pd.DataFrame
    target: NDArray[float64]
    predictions: NDArray[float64]
    metrics: Mapping[str, float]
    feature_descriptions: Mapping[str, str]
    candidates: tuple[TunedCandidate, ...]
    chosen: str
    rule: str
    loss_name: str
    steps: tuple[CleaningStep, ...]
    evaluation_protocol: tuple[str, ...]
    limits: tuple[str, ...]
    learning_curve: LearningCurve
    table_notes: tuple[TableNote, ...] = ()
    features_options: tuple[str, ...] = ()
    sections: tuple[ReportSection, ...] = ()
    private_files: Mapping[str, bytes] = field(default_factory=dict)
