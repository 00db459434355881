"""Models of several targets that are made of a model for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import (
    Answer,
    answers,
    as_double,
    family_of,
    lower_model,
    several_labels,
    take_column,
)
from scorewire_training.export.lowering.symbolic_columns import Matrix, beside, cells


@answers(MultiOutputRegressor)
def lower_multi_output_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """A model for each target, side by side."""
    members = [lower_model(draft, member, matrix) for member in model.estimators_]
    values = [as_double(draft, member, member.value, model) for member in members]
    value = draft.graph.node("Concat", values, axis=1)
    return Answer(family=family_of(model, members), value=value, width=len(values))


@answers(MultiOutputClassifier)
def lower_multi_output_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """A model for each label."""
    members = [lower_model(draft, member, matrix) for member in model.estimators_]
    return several_labels(draft, family_of(model, members), _alike(members, model))


@answers(RegressorChain)
def lower_regressor_chain(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """A model for each target, each given the values of those before it."""
    given = replace(matrix, framed=False)
    members, values = [], []
    for estimator in model.estimators_:
        member = lower_model(draft, estimator, given)
        members.append(member)
        values.append(as_double(draft, member, member.value, model))
        given = beside([given, Matrix(cells(values[-1], 1))], sparse=matrix.sparse)
    ordered = [values[place] for place in np.argsort(model.order_)]
    value = draft.graph.node("Concat", ordered, axis=1)
    return Answer(family=family_of(model, members), value=value, width=len(values))


@answers(ClassifierChain)
def lower_classifier_chain(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """A model for each label, each given what those before it say."""
    given = replace(matrix, framed=False)
    members = []
    for estimator in model.estimators_:
        member = lower_model(draft, estimator, given)
        if len(member.class_labels) != 2:
            raise UnsupportedModelError(
                f"{type(model).__name__} has a label of other than two classes",
                "use a MultiOutputClassifier, or a label for each class",
            )
        members.append(member)
        said = Matrix(cells(_said(draft, model, estimator, member), 1))
        given = beside([given, said], sparse=matrix.sparse)
    ordered = [members[place] for place in np.argsort(model.order_)]
    return several_labels(draft, family_of(model, members), _alike(ordered, model))


def _said(draft: Draft, model: Any, estimator: Any, member: Answer) -> str:
    """What the next members of a chain are given of one, [rows, 1]."""
    match getattr(model, "chain_method_", "predict"):
        case "predict":
            classes = draft.constant([float(label) for label in estimator.classes_])
            return draft.graph.node("Gather", [classes, str(member.label)], axis=0)
        case "predict_proba":
            return take_column(draft, as_double(draft, member, member.probabilities, model), 1)
        case "decision_function":
            return as_double(draft, member, member.decision, model)
        case method:
            raise UnsupportedModelError(
                f"{type(model).__name__} hands on the {method} of its members", "use chain_method='predict'"
            )


def _alike(members: list[Answer], model: Any) -> list[Answer]:
    """The members, without probabilities where the model itself has none for want of one member's."""
    return (
        members
        if hasattr(model, "predict_proba")
        else [replace(each, probabilities=None) for each in members]
    )
