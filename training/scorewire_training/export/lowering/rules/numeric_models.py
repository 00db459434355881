"""Neural networks, naive Bayes, and the models that skl2onnx does well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC, NuSVC

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import (
    INDICATOR,
    Answer,
    answers,
    arg_max,
    class_labels,
    exceeds,
    pair,
    several_labels,
    take_column,
)
from scorewire_training.export.lowering.rules.scaling import binarize, from_logs, row_sum
from scorewire_training.export.lowering.skl2onnx_conversion import convert_classifier, convert_regressor
from scorewire_training.export.lowering.symbolic_columns import Matrix

_ACTIVATIONS: dict[str, Callable[[Draft, str], str]] = {
    "exp": lambda draft, x: draft.graph.node("Exp", [x]),
    "identity": lambda _draft, x: x,
    "logistic": lambda draft, x: draft.graph.node("Sigmoid", [x]),
    "relu": lambda draft, x: draft.graph.node("Relu", [x]),
    "softmax": lambda draft, x: draft.graph.node("Softmax", [x], axis=1),
    "tanh": lambda draft, x: draft.graph.node("Tanh", [x]),
}


@answers(MLPRegressor)
def lower_mlp_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Layers, in double."""
    value = _layers(draft, model, matrix)
    return Answer(family="MLPRegressor", value=value, width=int(model.n_outputs_))


@answers(MLPClassifier)
def lower_mlp_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Layers, in double; two classes share one last neuron."""
    last = _layers(draft, model, matrix)
    if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        shares = [take_column(draft, last, place) for place in range(model.n_outputs_)]
        several = [
            Answer(
                family="MLPClassifier",
                class_labels=INDICATOR,
                label=exceeds(draft, share, 0.5),
                probabilities=pair(draft, share),
            )
            for share in shares
        ]
        return several_labels(draft, "MLPClassifier", several)
    labels = class_labels(model)
    probabilities = pair(draft, last) if len(labels) == 2 else last
    label = exceeds(draft, last, 0.5) if len(labels) == 2 else arg_max(draft, last)
    return Answer(family="MLPClassifier", class_labels=labels, label=label, probabilities=probabilities)


@answers(GaussianNB)
def lower_gaussian_nb(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Softmax over each class's log likelihood, in double."""
    graph = draft.graph
    rows = graph.node("Unsqueeze", [draft.tensor(matrix), graph.constant(np.array([1]))])
    away = graph.node("Sub", [rows, draft.constant(model.theta_)])
    terms = graph.node("Div", [graph.node("Mul", [away, away]), draft.constant(model.var_)])
    total = graph.node("ReduceSum", [terms, graph.constant(np.array([2]))], keepdims=0)
    prior = np.log(model.class_prior_) - 0.5 * np.sum(np.log(2.0 * np.pi * model.var_), axis=1)
    half = graph.node("Mul", [total, draft.constant([0.5])])
    scores = graph.node("Sub", [draft.constant(prior), half])
    return Answer(
        family="GaussianNB",
        class_labels=class_labels(model),
        label=arg_max(draft, scores),
        probabilities=from_logs(draft, scores, len(model.classes_)),
    )


@answers(MultinomialNB, ComplementNB)
def lower_counting_nb(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Softmax over each class's log likelihood of counts."""
    prior = model.class_log_prior_ if type(model) is MultinomialNB else np.zeros(len(model.classes_))
    return _softmax_of_line(draft, model, matrix, model.feature_log_prob_, prior)


@answers(BernoulliNB)
def lower_bernoulli_nb(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Softmax over each class's log likelihood of what is there and what is not."""
    if model.binarize is not None:
        matrix = binarize(draft, matrix, float(model.binarize))
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    prior = model.class_log_prior_ + absent.sum(axis=1)
    return _softmax_of_line(draft, model, matrix, model.feature_log_prob_ - absent, prior)


def _softmax_of_line(
    draft: Draft, model: Any, matrix: Matrix, weights: NDArray[np.float64], offset: NDArray[np.float64]
) -> Answer:
    graph = draft.graph
    scores = graph.node("Add", [draft.product(matrix, weights.T), draft.constant(offset)])
    return Answer(
        family=type(model).__name__,
        class_labels=class_labels(model),
        label=arg_max(draft, scores),
        probabilities=from_logs(draft, scores, len(weights)),
    )


@answers(QuadraticDiscriminantAnalysis)
def lower_quadratic(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Softmax over each class's log posterior, in double."""
    graph, x = draft.graph, draft.tensor(matrix)
    norms = []
    for rotation, scaling, mean in zip(model.rotations_, model.scalings_, model.means_, strict=True):
        away = graph.node("Sub", [x, draft.constant(mean)])
        away = graph.node("MatMul", [away, draft.constant(rotation * scaling**-0.5)])
        norms.append(row_sum(draft, graph.node("Mul", [away, away]), rotation.shape[1]))
    spread = np.array([np.sum(np.log(scaling)) for scaling in model.scalings_])
    norm = graph.node("Add", [graph.node("Concat", norms, axis=1), draft.constant(spread)])
    half = graph.node("Mul", [norm, draft.constant([-0.5])])
    scores = graph.node("Add", [half, draft.constant(np.log(model.priors_))])
    return Answer(
        family="QuadraticDiscriminantAnalysis",
        class_labels=class_labels(model),
        label=arg_max(draft, scores),
        probabilities=graph.node("Softmax", [scores], axis=1),
    )


@answers(
    AdaBoostClassifier,
    NuSVC,
    SVC,
)
def lower_converted_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """By skl2onnx, in float."""
    labels = class_labels(model)
    if getattr(model, "break_ties", False) and len(labels) > 2:
        raise UnsupportedModelError(
            f"{type(model).__name__} with break_ties=True decides between classes of as many votes"
            " otherwise than a graph",
            "fit it with break_ties=False",
        )
    label, probabilities = convert_classifier(draft, model, matrix)
    column = draft.graph.node("Reshape", [label, draft.graph.constant(np.array([-1, 1]))])
    return Answer(
        family=f"{type(model).__name__} (skl2onnx)",
        class_labels=labels,
        label=column,
        probabilities=probabilities if hasattr(model, "predict_proba") else None,
    )


@answers(AdaBoostRegressor)
def lower_converted_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """By skl2onnx, in float."""
    value = convert_regressor(draft, model, matrix)
    return Answer(family=f"{type(model).__name__} (skl2onnx)", value=value)


def _layers(draft: Draft, model: Any, matrix: Matrix) -> str:
    graph, x = draft.graph, ""
    last = len(model.coefs_) - 1
    for i, (weights, offsets) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = graph.node("MatMul", [x, draft.constant(weights)]) if i else draft.product(matrix, weights)
        x = graph.node("Add", [x, draft.constant(offsets)])
        name = model.out_activation_ if i == last else model.activation
        x = _ACTIVATIONS[name](draft, x)
    return x
