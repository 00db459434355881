"""Models made of models: each member is lowered by its own rule, so that trees stay exact."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_selection import RFE, RFECV
from sklearn.linear_model import RANSACRegressor
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from scorewire_training.estimators import HurdleRegressor, LogRegressor, RateRegressor
from scorewire_training.estimators.calibration import SMALLEST, LogOddsCalibrator
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ELEMENT_TYPES
from scorewire_training.export.lowering.arithmetic import (
    FUNCTIONS,
    arg_max,
    clip,
    share_out,
    take_column,
    weighted_mean,
)
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    as_double,
    class_labels,
    decision_score,
    family_of,
    pair,
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
        if back.inverse_func is not None:
            value = FUNCTIONS[back.inverse_func](builder, value)
    else:
        raise _no_way_back(back)
    return PredictionTensors(family=f"{member.family}, target transformed", value=value, width=member.width)


@lowers_model(LogRegressor)
def lower_log_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean amount from its logarithm, not below zero."""
    member = lower_model(builder, model.regressor_, inputs)
    graph = builder.graph
    value = graph.curve("Exp", as_double(builder, member, member.value, model), member.width)
    value = graph.node("Mul", [value, builder.constant([model.smearing_])])
    value = graph.node("Sub", [value, builder.constant([float(model.shift)])])
    return PredictionTensors(family=family_of(model, [member]), value=clip(builder, value, 0.0, np.inf))


@lowers_model(RateRegressor)
def lower_rate_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The rate, from the other columns, times the exposure, whose logarithm is the first column."""
    member = lower_model(builder, model.regressor_, inputs.take(range(1, inputs.width)))
    exposure = builder.graph.curve("Exp", builder.tensor(inputs.take([0])), 1)
    value = builder.graph.node("Mul", [exposure, as_double(builder, member, member.value, model)])
    return PredictionTensors(family=family_of(model, [member]), value=value)


@lowers_model(HurdleRegressor)
def lower_hurdle(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The probability of a positive amount times the expected positive amount."""
    amount = lower_model(builder, model.regressor_, inputs)
    value = as_double(builder, amount, amount.value, model)
    if model.classifier_ is None:
        return PredictionTensors(family=family_of(model, [amount]), value=value)
    hurdle = lower_model(builder, model.classifier_, inputs)
    probability = take_column(builder, as_double(builder, hurdle, hurdle.probabilities, model), 1)
    return PredictionTensors(
        family=family_of(model, [hurdle, amount]), value=builder.graph.node("Mul", [probability, value])
    )


@lowers_model(VotingRegressor)
def lower_voting_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The weighted mean of the members' values."""
    members = [lower_model(builder, member, inputs) for member in model.estimators_]
    values = [as_double(builder, member, member.value, model) for member in members]
    return PredictionTensors(
        family=family_of(model, members), value=weighted_mean(builder, values, model._weights_not_none)
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
        answer = lower_model(builder, member, inputs)
        members.append(answer)
        if method == "predict_proba":
            width = len(answer.class_labels)
            part = tensor_columns(as_double(builder, answer, answer.probabilities, model), width)
            columns.extend(part[1:] if width == 2 else part)
        elif method == "decision_function":
            width = 1 if len(answer.class_labels) == 2 else len(answer.class_labels)
            columns.extend(tensor_columns(as_double(builder, answer, answer.decision, model), width))
        elif answer.value is not None:
            columns.extend(tensor_columns(as_double(builder, answer, answer.value, model), answer.width))
        elif list(getattr(member, "classes_", [])) == list(range(len(answer.class_labels))):
            columns.extend(tensor_columns(builder.cast(str(answer.label), TensorProto.DOUBLE), 1))
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


@lowers_model(CalibratedClassifierCV)
def lower_calibrated(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean over the folds of the calibrated scores: by sigmoid, isotonic steps or temperature."""
    labels, graph = class_labels(model), builder.graph
    means, families = [], []
    for fold in model.calibrated_classifiers_:
        member = lower_model(builder, fold.estimator, inputs)
        families.append(member)
        if list(fold.estimator.classes_) != list(model.classes_):
            raise UnsupportedModelError(
                f"a fold of {type(model).__name__} has not seen every class",
                "use fewer folds, or ensemble=False",
            )
        scores = decision_score(builder, member, fold.estimator, model)
        if fold.method == "temperature":
            is_share = not hasattr(fold.estimator, "decision_function")
            means.append(_heated(builder, scores, is_share, len(labels), float(fold.calibrators[0].beta_)))
            continue
        if fold.method == "isotonic":
            share = _interpolated(builder, scores, fold.calibrators)
        else:
            slope = builder.constant([float(calibrator.a_) for calibrator in fold.calibrators])
            offset = builder.constant([float(calibrator.b_) for calibrator in fold.calibrators])
            line = graph.node("Add", [graph.node("Mul", [scores, slope]), offset])
            share = graph.node("Sigmoid", [graph.node("Neg", [line])])
        means.append(pair(builder, share) if len(labels) == 2 else share_out(builder, share, len(labels)))
    mean = weighted_mean(builder, means, None)
    return PredictionTensors(
        family=family_of(model, families[:1]),
        class_labels=labels,
        label=arg_max(builder, mean),
        probabilities=mean,
    )


@lowers_model(LogOddsCalibrator)
def lower_log_odds_calibrator(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """The logistic function of slope * log-odds + offset."""
    labels, graph = class_labels(model), builder.graph
    member = lower_model(builder, model.estimator, inputs)
    share = take_column(builder, as_double(builder, member, member.probabilities, model), 1)
    share = clip(builder, share, SMALLEST, 1.0 - SMALLEST)
    other = graph.node("Sub", [builder.constant([1.0]), share])
    odds = graph.node("Log", [graph.node("Div", [share, other])])
    line = graph.node("Mul", [odds, builder.constant([model.slope_])])
    line = graph.node("Add", [line, builder.constant([model.offset_])])
    probabilities = pair(builder, graph.node("Sigmoid", [line]))
    return PredictionTensors(
        family=family_of(model, [member]),
        class_labels=labels,
        label=arg_max(builder, probabilities),
        probabilities=probabilities,
    )


@lowers_model(FixedThresholdClassifier, TunedThresholdClassifierCV)
def lower_threshold(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The positive class from a threshold on."""
    member = lower_model(builder, model.estimator_, inputs)
    if model.response_method not in ("auto", "predict_proba") or member.probabilities is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} puts its threshold on decision_function",
            "use response_method='predict_proba' and a model that has it",
        )
    positive = getattr(model, "pos_label", None)
    place = 1 if positive is None else list(model.classes_).index(positive)
    threshold = getattr(model, "best_threshold_", None)
    if threshold is None:
        threshold = 0.5 if model.threshold == "auto" else model.threshold
    share = take_column(builder, as_double(builder, member, member.probabilities, model), place)
    above = builder.graph.node("GreaterOrEqual", [share, builder.constant([float(threshold)])])
    is_second = above if place else builder.graph.node("Not", [above])
    return replace(
        member, family=family_of(model, [member]), label=builder.cast(is_second, TensorProto.INT64)
    )


def _interpolated(builder: GraphBuilder, scores: str, calibrators: list[Any]) -> str:
    """Interpolate each column linearly between the fitted points, in the precision of the points."""
    graph = builder.graph
    columns = []
    for i, calibrator in enumerate(calibrators):
        x, y = calibrator.X_thresholds_, calibrator.y_thresholds_
        score = scores if len(calibrators) == 1 else take_column(builder, scores, i)
        if len(y) == 1:
            nothing = graph.node("Mul", [score, builder.constant([0.0])])
            columns.append(graph.node("Add", [nothing, builder.constant(y)]))
            continue
        score = clip(builder, score, float(calibrator.X_min_), float(calibrator.X_max_))
        beyond = graph.node("GreaterOrEqual", [score, builder.constant(x[1:-1][np.newaxis, :])])
        place = graph.constant(np.zeros(1, np.int64))
        if len(x) > 2:
            axis = graph.constant(np.array([1]))
            place = graph.node("ReduceSum", [builder.cast(beyond, TensorProto.INT64), axis], keepdims=1)
        slope, begin, level = (
            graph.node("Gather", [graph.constant(part), place], axis=0)
            for part in (np.diff(y) / np.diff(x), x[:-1], y[:-1])
        )
        own = builder.cast(score, ELEMENT_TYPES[x.dtype.name])
        line = graph.node("Mul", [slope, graph.node("Sub", [own, begin])])
        columns.append(builder.cast(graph.node("Add", [line, level]), TensorProto.DOUBLE))
    return columns[0] if len(columns) == 1 else graph.node("Concat", columns, axis=1)


def _heated(builder: GraphBuilder, scores: str, is_share: bool, count: int, beta: float) -> str:
    """The softmax of the logits times a factor."""
    graph = builder.graph
    if is_share:
        shares = pair(builder, scores) if count == 2 else scores
        logits = graph.node("Log", [graph.node("Add", [shares, builder.constant([1e-12])])])
    elif count == 2:
        logits = graph.node("Concat", [graph.node("Neg", [scores]), scores], axis=1)
    else:
        logits = scores
    return graph.node("Softmax", [graph.node("Mul", [logits, builder.constant([beta])])], axis=1)


def _no_way_back(transformer: Any) -> UnsupportedModelError:
    known = ", ".join(sorted(f"numpy.{function.__name__}" for function in FUNCTIONS))
    return UnsupportedModelError(
        f"the target's transformation back, by {type(transformer).__name__}, cannot be translated",
        f"use func and inverse_func of {known}, or a StandardScaler",
    )
