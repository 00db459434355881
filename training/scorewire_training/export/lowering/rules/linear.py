"""Linear models, in double."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    Perceptron,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    TheilSenRegressor,
    TweedieRegressor,
)
from sklearn.svm import LinearSVC, LinearSVR

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import arg_max, clip, exceeds, share_out, take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    INDICATOR,
    PredictionTensors,
    class_labels,
    multilabel_prediction,
    outlier_prediction,
    pair,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns
from scorewire_training.export.margins import margin_of


@lowers_model(
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LinearSVR,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    QuantileRegressor,
    Ridge,
    RidgeCV,
    SGDRegressor,
    TheilSenRegressor,
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor",
)
def lower_linear_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """X @ coefficients + intercept."""
    value, width = _scores(builder, model, inputs)
    return PredictionTensors(
        family=type(model).__name__, value=value, width=width, margin=margin_of(value, width)
    )


@lowers_model(PoissonRegressor, GammaRegressor, TweedieRegressor)
def lower_generalized_regressor(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """The inverse link of X @ coefficients + intercept."""
    value, width = _scores(builder, model, inputs)
    margin = margin_of(value, width)
    link = type(model._base_loss.link).__name__
    if link == "LogLink":
        margin = margin_of(value, width, "exp")
        value = builder.graph.node("Exp", [value])
    elif link != "IdentityLink":
        raise UnsupportedModelError(f"{type(model).__name__} has the link {link}", "use link='log'")
    return PredictionTensors(
        family=f"{type(model).__name__} ({link})", value=value, width=width, margin=margin
    )


@lowers_model(LogisticRegression, LogisticRegressionCV, LinearDiscriminantAnalysis)
def lower_logistic(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The logistic function of the score for two classes, the softmax of the scores for more."""
    if getattr(model, "multi_class", "auto") not in ("auto", "deprecated") or (
        getattr(model, "solver", "") == "liblinear" and len(model.classes_) > 2
    ):
        raise UnsupportedModelError(
            f"{type(model).__name__} weighs its classes one against the rest",
            "leave multi_class at its default and take a solver other than liblinear",
        )
    scores, width = _scores(builder, model, inputs)
    if width == 1:
        probabilities = pair(builder, builder.graph.curve("Sigmoid", scores, 1))
        margin = margin_of(scores, 1, "sigmoid", pairs=True)
    else:
        probabilities = builder.graph.node("Softmax", [scores], axis=1)
        margin = margin_of(scores, width, "softmax")
    return replace(_classifier(builder, model, scores, width, probabilities), margin=margin)


@lowers_model(PLSRegression, PLSCanonical, CCA)
def lower_partial_least_squares(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """(X - mean) @ coefficients + intercept."""
    centered = builder.graph.node("Sub", [builder.tensor(inputs), builder.constant(model._x_mean)])
    value, width = _scores(builder, model, SymbolicColumns(tensor_columns(centered, inputs.width)))
    return PredictionTensors(
        family=type(model).__name__, value=value, width=width, margin=margin_of(value, width)
    )


@lowers_model(
    LinearSVC,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier",
)
def lower_linear_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The class with the largest score, without probabilities."""
    scores, width = _scores(builder, model, inputs)
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        name = type(model).__name__
        several = [
            PredictionTensors(
                family=name,
                class_labels=INDICATOR,
                label=exceeds(builder, take_column(builder, scores, i), 0.0),
            )
            for i in range(width)
        ]
        return multilabel_prediction(builder, name, several)
    return _classifier(builder, model, scores, width, None)


@lowers_model(SGDOneClassSVM)
def lower_linear_one_class(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """X @ coefficients - offset; rows from 0 on are like the training rows."""
    x = builder.product(inputs, model.coef_.reshape(-1, 1))
    decision = builder.graph.node("Sub", [x, builder.constant(model.offset_)])
    inside = builder.graph.node("GreaterOrEqual", [decision, builder.constant([0.0])])
    prediction = outlier_prediction(builder, "SGDOneClassSVM", decision, inside)
    return replace(prediction, margin=margin_of(decision, 1))


@lowers_model(SGDClassifier)
def lower_sgd_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """Scores, and probabilities if the loss has them."""
    scores, width = _scores(builder, model, inputs)
    if model.loss == "log_loss":
        positive = builder.graph.curve("Sigmoid", scores, width)
    elif model.loss == "modified_huber":
        raised = builder.graph.node("Add", [clip(builder, scores, -1.0, 1.0), builder.constant([1.0])])
        positive = builder.graph.node("Div", [raised, builder.constant([2.0])])
    else:
        return _classifier(builder, model, scores, width, None)
    probabilities = pair(builder, positive) if width == 1 else share_out(builder, positive, width)
    prediction = _classifier(builder, model, scores, width, probabilities)
    if model.loss == "log_loss" and width == 1:
        return replace(prediction, margin=margin_of(scores, 1, "sigmoid", pairs=True))
    why = "its probabilities are no plain function of its scores"
    return replace(prediction, without_margin=f"{prediction.family}: {why}")


def _scores(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> tuple[str, int]:
    """X @ coefficients + intercept: [rows, width], and the width."""
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(coefficients),))
    x = builder.product(inputs, coefficients.T)
    return builder.graph.node("Add", [x, builder.constant(intercept)]), len(coefficients)


def _classifier(
    builder: GraphBuilder, model: Any, scores: str, width: int, probabilities: str | None
) -> PredictionTensors:
    labels = class_labels(model)
    if width not in (1, len(labels)) or (width == 1 and len(labels) != 2):
        raise UnsupportedModelError(
            f"{type(model).__name__} has {width} scores for {len(labels)} classes",
            "export one model for each target",
        )
    return PredictionTensors(
        family=type(model).__name__,
        class_labels=labels,
        label=exceeds(builder, scores, 0.0) if width == 1 else arg_max(builder, scores),
        probabilities=probabilities,
        decision=scores,
    )
