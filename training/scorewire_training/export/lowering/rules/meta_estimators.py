"""Models made of models: each member is lowered by its own rule, so that trees stay exact."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_selection import RFE, RFECV
from sklearn.linear_model import RANSACRegressor
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
)
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import (
    FUNCTIONS,
    arg_max,
    weighted_mean,
)
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    AVERAGED_PROBABILITIES,
    AVERAGED_VALUES,
    PredictionTensors,
    as_double,
    class_labels,
    family_of,
    sum_of_margins,
)
from scorewire_training.export.lowering.registry import lower_model, lower_step, lowers_model
from scorewire_training.export.lowering.symbolic_columns import Column, SymbolicColumns, tensor_columns
from scorewire_training.releases import FrozenEstimator


@lowers_model(
    GridSearchCV,
    RandomizedSearchCV,
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
)
def lower_search(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The best model that the search found."""
    if not hasattr(model, "best_estimator_"):
        raise UnsupportedModelError(f"{type(model).__name__} kept no best model", "fit it with refit=True")
    return lower_model(builder, model.best_estimator_, inputs)


@lowers_model(FrozenEstimator)
def lower_frozen(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The model inside the wrapper."""
    return lower_model(builder, model.estimator, inputs)


@lowers_model(RANSACRegressor, SelfTrainingClassifier)
def lower_refitted(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The model that was fitted last, on the selected rows; it takes arrays."""
    # The attribute of SelfTrainingClassifier before scikit-learn 1.6.
    fitted = model.estimator_ if hasattr(model, "estimator_") else model.base_estimator_
    return lower_model(builder, fitted, replace(inputs, framed=False))


@lowers_model(RFE, RFECV)
def lower_selected(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The model, on the selected columns."""
    kept = lower_step(builder, model, inputs)
    return lower_model(builder, model.estimator_, replace(kept, framed=False))


@lowers_model(TransformedTargetRegressor)
def lower_transformed_target(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The inverse transformation of the regressor's prediction."""
    member = lower_model(builder, model.regressor_, inputs)
    value = as_double(builder, member, member.value, model)
    back = model.transformer_
    graph = builder.graph
    function = None
    if type(back) is StandardScaler:
        if back.with_std:
            value = graph.node("Mul", [value, builder.constant(back.scale_)])
        if back.with_mean:
            value = graph.node("Add", [value, builder.constant(back.mean_)])
    elif type(back) is MinMaxScaler and not back.clip:
        value = graph.node("Sub", [value, builder.constant(back.min_)])
        value = graph.node("Div", [value, builder.constant(back.scale_)])
    elif type(back) is FunctionTransformer and (back.inverse_func is None or back.inverse_func in FUNCTIONS):
        if back.inverse_func is not None and back.inv_kw_args:
            raise _no_way_back(back)
        function = back.inverse_func
    else:
        raise _no_way_back(back)
    margin = sum_of_margins([member], value, member.width)
    if function is not None:
        margin = margin and margin.through(function.__name__, function)
        value = FUNCTIONS[function](builder, value)
    return PredictionTensors(
        family=f"{member.family}, target transformed",
        value=value,
        width=member.width,
        margin=margin,
        without_margin=member.without_margin or "its value is transformed after a function of its own",
    )


@lowers_model(VotingRegressor)
def lower_voting_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The weighted mean of the members' values."""
    members = [lower_model(builder, member, inputs) for member in model.estimators_]
    values = [as_double(builder, member, member.value, model) for member in members]
    value = weighted_mean(builder, values, model._weights_not_none)
    return PredictionTensors(
        family=family_of(model, members),
        value=value,
        margin=sum_of_margins(members, value, 1),
        without_margin=AVERAGED_VALUES,
    )


@lowers_model(VotingClassifier)
def lower_voting_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The weighted mean of probabilities, or the most votes."""
    members = [lower_model(builder, member, inputs) for member in model.estimators_]
    labels, weights, graph = class_labels(model), model._weights_not_none, builder.graph
    if model.voting == "soft":
        shares = [as_double(builder, member, member.probabilities, model) for member in members]
        mean = weighted_mean(builder, shares, weights)
        return PredictionTensors(
            family=family_of(model, members),
            class_labels=labels,
            label=arg_max(builder, mean),
            probabilities=mean,
            margin=sum_of_margins(members, mean, len(labels)),
            without_margin=AVERAGED_PROBABILITIES,
        )
    places = graph.constant(np.arange(len(labels)))
    votes = []
    for member, weight in zip(members, weights or [1.0] * len(members), strict=True):
        vote = builder.cast(graph.node("Equal", [str(member.label), places]), TensorProto.DOUBLE)
        votes.append(graph.node("Mul", [vote, builder.constant([float(weight)])]))
    total = reduce(lambda a, b: graph.node("Add", [a, b]), votes)
    return PredictionTensors(
        family=family_of(model, members), class_labels=labels, label=arg_max(builder, total)
    )


@lowers_model(StackingClassifier, StackingRegressor)
def lower_stacking(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The last model, on the predictions of the first ones."""
    columns: list[Column] = []
    members = []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        prediction = lower_model(builder, member, inputs)
        members.append(prediction)
        if method == "predict_proba":
            width = len(prediction.class_labels)
            part = tensor_columns(as_double(builder, prediction, prediction.probabilities, model), width)
            columns.extend(part[1:] if width == 2 else part)
        elif method == "decision_function":
            width = 1 if len(prediction.class_labels) == 2 else len(prediction.class_labels)
            columns.extend(tensor_columns(as_double(builder, prediction, prediction.decision, model), width))
        elif prediction.value is not None:
            columns.extend(
                tensor_columns(as_double(builder, prediction, prediction.value, model), prediction.width)
            )
        elif list(getattr(member, "classes_", [])) == list(range(len(prediction.class_labels))):
            columns.extend(tensor_columns(builder.cast(str(prediction.label), TensorProto.DOUBLE), 1))
        else:
            raise UnsupportedModelError(
                f"{type(model).__name__} stacks the class names of a {type(member).__name__}",
                "use members with predict_proba",
            )
    if model.passthrough:
        columns.extend(inputs.columns)
    last = lower_model(builder, model.final_estimator_, SymbolicColumns(tuple(columns)))
    labels = class_labels(model) if last.class_labels else ()
    if len(labels) != len(last.class_labels):
        raise UnsupportedModelError(
            f"{type(model).__name__}'s last model knows other classes than it", "fit it on all classes"
        )
    return replace(last, family=family_of(model, members), class_labels=labels)


def _no_way_back(transformer: Any) -> UnsupportedModelError:
    known = ", ".join(sorted(f"numpy.{function.__name__}" for function in FUNCTIONS))
    return UnsupportedModelError(
        f"the target's transformation back, by {type(transformer).__name__}, cannot be translated",
        f"use func and inverse_func of {known}, or a StandardScaler",
    )
