"""Rules for classifiers of several classes, or bags, that are made of other models."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import (
    INDICATOR,
    Answer,
    answers,
    arg_max,
    as_double,
    class_labels,
    exceeds,
    family_of,
    lower_model,
    pair,
    score_of,
    several_labels,
    take_column,
    weighted_mean,
)
from scorewire_training.export.lowering.rules.scaling import row_sum
from scorewire_training.export.lowering.symbolic_columns import Matrix
from scorewire_training.releases import SKLEARN_RELEASE


@answers(BaggingRegressor)
def lower_bagging_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The mean of the members' values, each on its own columns."""
    members = _bagged(draft, model, matrix)
    values = [as_double(draft, member, member.value, model) for member in members]
    width = members[0].width
    return Answer(family=family_of(model, members), value=weighted_mean(draft, values, None), width=width)


@answers(
    BaggingClassifier,
    "imblearn.ensemble._bagging.BalancedBaggingClassifier",
    "imblearn.ensemble._easy_ensemble.EasyEnsembleClassifier",
)
def lower_bagging_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The mean of the members' probabilities, or of their votes where they have none."""
    labels, members = class_labels(model), _bagged(draft, model, matrix)
    shares = []
    for member, estimator in zip(members, model.estimators_, strict=True):
        if hasattr(estimator, "predict_proba"):
            share = as_double(draft, member, member.probabilities, model)
        else:
            own = draft.graph.constant(np.arange(len(estimator.classes_)))
            share = draft.cast(draft.graph.node("Equal", [str(member.label), own]), TensorProto.DOUBLE)
        # A member may not have seen every class; it knows classes by their numbers.
        shares.append(_spread(draft, share, [int(each) for each in estimator.classes_], len(labels)))
    mean = weighted_mean(draft, shares, None)
    return Answer(
        family=family_of(model, members),
        class_labels=labels,
        label=arg_max(draft, mean),
        probabilities=mean,
    )


@answers(OneVsRestClassifier)
def lower_one_vs_rest(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Each class against all others; the probabilities add up to one, the label has the largest score."""
    members = _binary(draft, model, matrix)
    if model.multilabel_:
        return several_labels(draft, family_of(model, members), _labels(draft, model, members))
    labels, graph = class_labels(model), draft.graph
    scores = [
        score_of(draft, member, each, model) for member, each in zip(members, model.estimators_, strict=True)
    ]
    probabilities = None
    if all(member.probabilities is not None for member in members):
        shares = [
            take_column(draft, as_double(draft, each, each.probabilities, model), 1) for each in members
        ]
        if len(shares) == 1:
            probabilities = pair(draft, shares[0])
        else:
            share = graph.node("Concat", shares, axis=1)
            total = row_sum(draft, share, len(shares))
            probabilities = graph.node("Div", [share, total])
            if SKLEARN_RELEASE >= (1, 7):
                nothing = graph.node("Equal", [total, draft.constant([0.0])])
                probabilities = graph.node("Where", [nothing, share, probabilities])
    elif hasattr(model.estimators_[0], "predict_proba"):
        raise UnsupportedModelError(
            f"{type(model).__name__} has probabilities of a {members[0].family} that are not translated",
            "use members with probabilities that are, such as LogisticRegression",
        )
    if len(scores) == 1:
        label = _is_chosen(draft, members[0], scores[0])
    else:
        every = graph.node("Concat", scores, axis=1)
        # Before 1.8, the last of classes that are even.
        label = arg_max(draft, every, last=SKLEARN_RELEASE < (1, 8))
    return Answer(
        family=family_of(model, members), class_labels=labels, label=label, probabilities=probabilities
    )


@answers(OneVsOneClassifier)
def lower_one_vs_one(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Each class against each other: the most votes, then the largest sum of confidences."""
    labels, graph = class_labels(model), draft.graph
    if model.pairwise_indices_ is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__} is fitted on a matrix of distances", "fit it on features"
        )
    members = _binary(draft, model, replace(matrix, framed=False))
    count = len(labels)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    confidence, votes = {}, {}
    for key, member, estimator in zip(pairs, members, model.estimators_, strict=True):
        confidence[key] = score_of(draft, member, estimator, model)
        votes[key] = draft.cast(str(member.label), TensorProto.DOUBLE)
    one, three = draft.constant([1.0]), draft.constant([3.0])
    decisions = []
    for i in range(count):
        parts, sums = [], []
        for first, second in pairs:
            if i == first:
                parts.append(graph.node("Sub", [one, votes[first, second]]))
                sums.append(graph.node("Neg", [confidence[first, second]]))
            elif i == second:
                parts.append(votes[first, second])
                sums.append(confidence[first, second])
        total = reduce(lambda a, b: graph.node("Add", [a, b]), sums)
        below = graph.node("Mul", [three, graph.node("Add", [graph.node("Abs", [total]), one])])
        vote = reduce(lambda a, b: graph.node("Add", [a, b]), parts)
        decisions.append(graph.node("Add", [vote, graph.node("Div", [total, below])]))
    if count == 2:
        label = _is_chosen(draft, members[0], decisions[1])
    else:
        label = arg_max(draft, graph.node("Concat", decisions, axis=1))
    return Answer(family=family_of(model, members), class_labels=labels, label=label)


def _is_chosen(draft: Draft, member: Answer, score: str) -> str:
    """Whether a score of a member's, a decision or a probability, is for its second class."""
    return exceeds(draft, score, 0.0 if member.decision is not None else 0.5)


def _labels(draft: Draft, model: Any, members: list[Answer]) -> list[Answer]:
    """A label for each member, by its score."""
    has_shares = hasattr(model, "predict_proba")
    labels = []
    for member, estimator in zip(members, model.estimators_, strict=True):
        score = score_of(draft, member, estimator, model)
        label = _is_chosen(draft, member, score)
        labels.append(
            replace(
                member,
                class_labels=INDICATOR,
                label=label,
                probabilities=member.probabilities if has_shares else None,
            )
        )
    return labels


def _bagged(draft: Draft, model: Any, matrix: Matrix) -> list[Answer]:
    columns = [matrix.take(int(i) for i in features) for features in model.estimators_features_]
    return [
        lower_model(draft, member, replace(own, framed=False))
        for member, own in zip(model.estimators_, columns, strict=True)
    ]


def _binary(draft: Draft, model: Any, matrix: Matrix) -> list[Answer]:
    for member in model.estimators_:
        if len(getattr(member, "classes_", ())) != 2:
            raise UnsupportedModelError(
                f"{type(model).__name__} has a {type(member).__name__} that knows no two classes",
                "fit it on all classes, with classifiers as members",
            )
    return [lower_model(draft, member, matrix) for member in model.estimators_]


def _spread(draft: Draft, share: str, own: list[int], count: int) -> str:
    """Shares of some classes as shares of all: those not among them have none."""
    if own == list(range(count)):
        return share
    table = np.zeros((len(own), count))
    table[np.arange(len(own)), own] = 1.0
    return draft.graph.node("MatMul", [share, draft.constant(table)])
