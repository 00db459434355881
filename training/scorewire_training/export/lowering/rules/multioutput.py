"""Models of several targets that are made of a model for each target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    as_double,
    family_of,
    multilabel_prediction,
    sum_of_margins,
)
from scorewire_training.export.lowering.registry import lower_model, lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, join_columns, tensor_columns


@lowers_model(MultiOutputRegressor)
def lower_multi_output_regressor(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """One model for each target, side by side."""
    members = [lower_model(builder, member, inputs) for member in model.estimators_]
    values = [as_double(builder, member, member.value, model) for member in members]
    value = builder.graph.node("Concat", values, axis=1)
    return PredictionTensors(
        family=family_of(model, members),
        value=value,
        width=len(values),
        margin=sum_of_margins(members, value, len(values)),
        without_margin="the values of its members are functions of their margins",
    )


@lowers_model(MultiOutputClassifier)
def lower_multi_output_classifier(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """One model for each label."""
    members = [lower_model(builder, member, inputs) for member in model.estimators_]
    return multilabel_prediction(builder, family_of(model, members), _members(members, model))


@lowers_model(RegressorChain)
def lower_regressor_chain(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """One model for each target; each also gets the values of the targets before it."""
    given = replace(inputs, framed=False)
    members, values = [], []
    for estimator in model.estimators_:
        member = lower_model(builder, estimator, given)
        members.append(member)
        values.append(as_double(builder, member, member.value, model))
        given = join_columns([given, SymbolicColumns(tensor_columns(values[-1], 1))], sparse=inputs.sparse)
    ordered = [values[place] for place in np.argsort(model.order_)]
    value = builder.graph.node("Concat", ordered, axis=1)
    return PredictionTensors(
        family=family_of(model, members),
        value=value,
        width=len(values),
        margin=sum_of_margins(members, value, len(values)),
        without_margin="the values of its members are functions of their margins",
    )


@lowers_model(ClassifierChain)
def lower_classifier_chain(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """One model for each label; each also gets the predictions of the labels before it."""
    given = replace(inputs, framed=False)
    members = []
    for estimator in model.estimators_:
        member = lower_model(builder, estimator, given)
        if len(member.class_labels) != 2:
            raise UnsupportedModelError(
                f"{type(model).__name__} has a label of other than two classes",
                "use a MultiOutputClassifier, or a label for each class",
            )
        members.append(member)
        passed_on = SymbolicColumns(tensor_columns(_passed_on(builder, model, estimator, member), 1))
        given = join_columns([given, passed_on], sparse=inputs.sparse)
    ordered = [members[place] for place in np.argsort(model.order_)]
    return multilabel_prediction(builder, family_of(model, members), _members(ordered, model))


def _passed_on(builder: GraphBuilder, model: Any, estimator: Any, member: PredictionTensors) -> str:
    """The prediction of a member that the next members of a chain get, [rows, 1]."""
    match getattr(model, "chain_method_", "predict"):
        case "predict":
            classes = builder.constant([float(label) for label in estimator.classes_])
            return builder.graph.node("Gather", [classes, str(member.label)], axis=0)
        case "predict_proba":
            return take_column(builder, as_double(builder, member, member.probabilities, model), 1)
        case "decision_function":
            return as_double(builder, member, member.decision, model)
        case method:
            raise UnsupportedModelError(
                f"{type(model).__name__} hands on the {method} of its members", "use chain_method='predict'"
            )


def _members(members: list[PredictionTensors], model: Any) -> list[PredictionTensors]:
    """The members; without probabilities if the model has none because one member has none."""
    return (
        members
        if hasattr(model, "predict_proba")
        else [replace(each, probabilities=None) for each in members]
    )
