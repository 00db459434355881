"""What a training run found, before anything of it is written.

The use cases make a `TrainingResult`; the report, the model card, the tracking and the
export read it, and know nothing of any use case.
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


class PredictionKind(Enum):
    """What a prediction is."""

    PROBABILITY = "probability"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningStep:
    """A step of cleaning: what it leaves out and why, how many rows that took, how many were left."""

    name: str
    reason: str
    rows_taken: int
    rows_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSection:
    """A part of the report that only one use case has: a table with words, say the segments.

    Attributes:
        title: its heading.
        text: what to see in it, in a sentence or two.
        table: one row a line, the index its first column.
        chart: columns of `table` to draw as bars, each in a panel of its own;
            empty draws nothing.
    """

    title: str
    text: str
    table: pd.DataFrame
    chart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A fitted pipeline, and all that was seen on the way to it.

    Attributes:
        name: the model's name.
        title: for people: "Who buys again?".
        description: what a prediction means, in one sentence.
        kind: whether predictions are probabilities of label 1, or amounts.
        unit: of an amount: "$"; empty for probabilities.
        pipeline: fitted; `predict_proba` or `predict` says a prediction.
        sample: the rows that it was fitted on, as it takes them.
        sample_target: their truth, shape [sample rows].
        test: rows held out from fitting and from every choice.
        target: their truth, shape [test rows].
        predictions: for the rows of `test`, shape [test rows].
        metrics: measured on `test`, by name; see TrainedModel.
        feature_descriptions: for people, by feature.
        candidates: the rivals, in the order of the rule.
        chosen: the name of the candidate that `pipeline` is.
        rule: how it was chosen, in words.
        loss_name: what the candidates' loss is, in words.
        steps: of cleaning, in order.
        evaluation_protocol: what was known when: which time or rows were fitted on, chosen
            by, judged by; a sentence each.
        limits: what the model must not be used for, or is known to do badly; a
            sentence each.
        learning_curve: of the chosen candidate.
        sections: of the report, in order.
        files: further files of the bundle, by name.
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
    sections: tuple[ReportSection, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
