"""Bags, and classifiers of several classes that are made of other models."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import (
    arg_max,
    exceeds,
    row_sum,
    take_column,
    weighted_mean,
)
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    AVERAGED_PROBABILITIES,
    AVERAGED_VALUES,
    INDICATOR,
    PredictionTensors,
    as_double,
    class_labels,
    decision_score,
    family_of,
    multilabel_prediction,
    pair,
    sum_of_margins,
)
from scorewire_training.export.lowering.registry import lower_model, lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns
from scorewire_training.releases import SKLEARN_RELEASE


@lowers_model(BaggingRegressor)
def lower_bagging_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean of the members' values, each on its own columns."""
    members = _bagged(builder, model, inputs)
    values = [as_double(builder, member, member.value, model) for member in members]
    width = members[0].width
    value = weighted_mean(builder, values, None)
    return PredictionTensors(
        family=family_of(model, members),
        value=value,
        width=width,
        margin=sum_of_margins(members, value, width),
        without_margin=AVERAGED_VALUES,
    )


@lowers_model(
    BaggingClassifier,
    "imblearn.ensemble._bagging.BalancedBaggingClassifier",
    "imblearn.ensemble._easy_ensemble.EasyEnsembleClassifier",
)
def lower_bagging_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean of the members' probabilities, or of their votes for members without probabilities."""
    labels, members = class_labels(model), _bagged(builder, model, inputs)
    shares = []
    for member, estimator in zip(members, model.estimators_, strict=True):
        if hasattr(estimator, "predict_proba"):
            share = as_double(builder, member, member.probabilities, model)
        else:
            own = builder.graph.constant(np.arange(len(estimator.classes_)))
            share = builder.cast(builder.graph.node("Equal", [str(member.label), own]), TensorProto.DOUBLE)
        # A member may not have seen every class; its classes are indices of the bag's classes.
        shares.append(_spread(builder, share, [int(each) for each in estimator.classes_], len(labels)))
    mean = weighted_mean(builder, shares, None)
    return PredictionTensors(
        family=family_of(model, members),
        class_labels=labels,
        label=arg_max(builder, mean),
        probabilities=mean,
        margin=sum_of_margins(members, mean, len(labels)),
        without_margin=AVERAGED_PROBABILITIES,
    )


@lowers_model(OneVsRestClassifier)
def lower_one_vs_rest(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """Each class against all others; probabilities are normalized, the label has the largest score."""
    members = _binary(builder, model, inputs)
    if model.multilabel_:
        return multilabel_prediction(builder, family_of(model, members), _labels(builder, model, members))
    labels, graph = class_labels(model), builder.graph
    scores = [
        decision_score(builder, member, each, model)
        for member, each in zip(members, model.estimators_, strict=True)
    ]
    probabilities = None
    if all(member.probabilities is not None for member in members):
        shares = [
            take_column(builder, as_double(builder, each, each.probabilities, model), 1) for each in members
        ]
        if len(shares) == 1:
            probabilities = pair(builder, shares[0])
        else:
            share = graph.node("Concat", shares, axis=1)
            total = row_sum(builder, share, len(shares))
            probabilities = graph.node("Div", [share, total])
            if SKLEARN_RELEASE >= (1, 7):
                nothing = graph.node("Equal", [total, builder.constant([0.0])])
                probabilities = graph.node("Where", [nothing, share, probabilities])
    elif hasattr(model.estimators_[0], "predict_proba"):
        raise UnsupportedModelError(
            f"{type(model).__name__} has probabilities of a {members[0].family} that are not translated",
            "use members with probabilities that are, such as LogisticRegression",
        )
    if len(scores) == 1:
        label = _is_chosen(builder, members[0], scores[0])
    else:
        every = graph.node("Concat", scores, axis=1)
        # Before scikit-learn 1.8, the last of several classes with the largest score wins.
        label = arg_max(builder, every, last=SKLEARN_RELEASE < (1, 8))
    return PredictionTensors(
        family=family_of(model, members),
        class_labels=labels,
        label=label,
        probabilities=probabilities,
        without_margin="its probabilities are those of its members, divided by their sum",
    )


@lowers_model(OneVsOneClassifier)
def lower_one_vs_one(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """Each class against each other: the most votes win, then the largest sum of confidences."""
    labels, graph = class_labels(model), builder.graph
    if model.pairwise_indices_ is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__} is fitted on a matrix of distances", "fit it on features"
        )
    members = _binary(builder, model, replace(inputs, framed=False))
    count = len(labels)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    confidence, votes = {}, {}
    for key, member, estimator in zip(pairs, members, model.estimators_, strict=True):
        confidence[key] = decision_score(builder, member, estimator, model)
        votes[key] = builder.cast(str(member.label), TensorProto.DOUBLE)
    one, three = builder.constant([1.0]), builder.constant([3.0])
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
        label = _is_chosen(builder, members[0], decisions[1])
    else:
        label = arg_max(builder, graph.node("Concat", decisions, axis=1))
    return PredictionTensors(family=family_of(model, members), class_labels=labels, label=label)


def _is_chosen(builder: GraphBuilder, member: PredictionTensors, score: str) -> str:
    """Whether a member's score, a decision or a probability, is for its second class."""
    return exceeds(builder, score, 0.0 if member.decision is not None else 0.5)


def _labels(builder: GraphBuilder, model: Any, members: list[PredictionTensors]) -> list[PredictionTensors]:
    """A label for each member, decided by its score."""
    has_shares = hasattr(model, "predict_proba")
    labels = []
    for member, estimator in zip(members, model.estimators_, strict=True):
        score = decision_score(builder, member, estimator, model)
        label = _is_chosen(builder, member, score)
        labels.append(
            replace(
                member,
                class_labels=INDICATOR,
                label=label,
                probabilities=member.probabilities if has_shares else None,
                is_exact=False,
            )
        )
    return labels


def _bagged(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> list[PredictionTensors]:
    columns = [inputs.take(int(i) for i in features) for features in model.estimators_features_]
    return [
        lower_model(builder, member, replace(own, framed=False))
        for member, own in zip(model.estimators_, columns, strict=True)
    ]


def _binary(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> list[PredictionTensors]:
    for member in model.estimators_:
        if len(getattr(member, "classes_", ())) != 2:
            raise UnsupportedModelError(
                f"{type(model).__name__} has a {type(member).__name__} that knows no two classes",
                "fit it on all classes, with classifiers as members",
            )
    return [lower_model(builder, member, inputs) for member in model.estimators_]


def _spread(builder: GraphBuilder, share: str, own: list[int], count: int) -> str:
    """Extend probabilities of some classes to all classes, with 0 for the others."""
    if own == list(range(count)):
        return share
    table = np.zeros((len(own), count))
    table[np.arange(len(own)), own] = 1.0
    return builder.graph.node("MatMul", [share, builder.constant(table)])
