"""Linear models, in double."""

from __future__ import annotations

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
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import (
    INDICATOR,
    Answer,
    answers,
    arg_max,
    class_labels,
    exceeds,
    outlier_answer,
    pair,
    several_labels,
    take_column,
)
from scorewire_training.export.lowering.rules.scaling import clip, share_out
from scorewire_training.export.lowering.symbolic_columns import Matrix, cells


@answers(
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
def lower_linear_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """X times coefficients, plus intercept."""
    value, width = _scores(draft, model, matrix)
    return Answer(family=type(model).__name__, value=value, width=width)


@answers(PoissonRegressor, GammaRegressor, TweedieRegressor)
def lower_generalized_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The inverse link of X times coefficients, plus intercept."""
    value, width = _scores(draft, model, matrix)
    link = type(model._base_loss.link).__name__
    if link == "LogLink":
        value = draft.graph.node("Exp", [value])
    elif link != "IdentityLink":
        raise UnsupportedModelError(f"{type(model).__name__} has the link {link}", "use link='log'")
    return Answer(family=f"{type(model).__name__} ({link})", value=value, width=width)


@answers(LogisticRegression, LogisticRegressionCV, LinearDiscriminantAnalysis)
def lower_logistic(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The logistic function of the scores of two classes, the softmax of those of more."""
    if getattr(model, "multi_class", "auto") not in ("auto", "deprecated") or (
        getattr(model, "solver", "") == "liblinear" and len(model.classes_) > 2
    ):
        raise UnsupportedModelError(
            f"{type(model).__name__} weighs its classes one against the rest",
            "leave multi_class at its default and take a solver other than liblinear",
        )
    scores, width = _scores(draft, model, matrix)
    if width == 1:
        probabilities = pair(draft, draft.graph.curve("Sigmoid", scores, 1))
    else:
        probabilities = draft.graph.node("Softmax", [scores], axis=1)
    return _classifier(draft, model, scores, width, probabilities)


@answers(PLSRegression, PLSCanonical, CCA)
def lower_partial_least_squares(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """(X - mean) times coefficients, plus intercept."""
    centered = draft.graph.node("Sub", [draft.tensor(matrix), draft.constant(model._x_mean)])
    value, width = _scores(draft, model, Matrix(cells(centered, matrix.width)))
    return Answer(family=type(model).__name__, value=value, width=width)


@answers(
    LinearSVC,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier",
)
def lower_linear_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The class of the largest score; there are no probabilities."""
    scores, width = _scores(draft, model, matrix)
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        name = type(model).__name__
        several = [
            Answer(
                family=name, class_labels=INDICATOR, label=exceeds(draft, take_column(draft, scores, i), 0.0)
            )
            for i in range(width)
        ]
        return several_labels(draft, name, several)
    return _classifier(draft, model, scores, width, None)


@answers(SGDOneClassSVM)
def lower_linear_one_class(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """X times coefficients, minus the offset; rows from 0 on are like those of training."""
    x = draft.product(matrix, model.coef_.reshape(-1, 1))
    decision = draft.graph.node("Sub", [x, draft.constant(model.offset_)])
    inside = draft.graph.node("GreaterOrEqual", [decision, draft.constant([0.0])])
    return outlier_answer(draft, "SGDOneClassSVM", decision, inside)


@answers(SGDClassifier)
def lower_sgd_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Scores, and probabilities where its loss has them."""
    scores, width = _scores(draft, model, matrix)
    if model.loss == "log_loss":
        positive = draft.graph.curve("Sigmoid", scores, width)
    elif model.loss == "modified_huber":
        raised = draft.graph.node("Add", [clip(draft, scores, -1.0, 1.0), draft.constant([1.0])])
        positive = draft.graph.node("Div", [raised, draft.constant([2.0])])
    else:
        return _classifier(draft, model, scores, width, None)
    probabilities = pair(draft, positive) if width == 1 else share_out(draft, positive, width)
    return _classifier(draft, model, scores, width, probabilities)


def _scores(draft: Draft, model: Any, matrix: Matrix) -> tuple[str, int]:
    """X times coefficients, plus intercept: [rows, width], and the width."""
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(coefficients),))
    x = draft.product(matrix, coefficients.T)
    return draft.graph.node("Add", [x, draft.constant(intercept)]), len(coefficients)


def _classifier(draft: Draft, model: Any, scores: str, width: int, probabilities: str | None) -> Answer:
    labels = class_labels(model)
    if width not in (1, len(labels)) or (width == 1 and len(labels) != 2):
        raise UnsupportedModelError(
            f"{type(model).__name__} has {width} scores for {len(labels)} classes",
            "export one model for each target",
        )
    return Answer(
        family=type(model).__name__,
        class_labels=labels,
        label=exceeds(draft, scores, 0.0) if width == 1 else arg_max(draft, scores),
        probabilities=probabilities,
        decision=scores,
    )
