"""Naive Bayes, by the log likelihoods of its classes, in double."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB

from scorewire_training.export.lowering.arithmetic import arg_max, from_logs
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    class_labels,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.rules.scaling import binarize
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns
from scorewire_training.export.margins import margin_of


@lowers_model(GaussianNB)
def lower_gaussian_nb(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The softmax over each class's log likelihood, in double."""
    graph = builder.graph
    rows = graph.node("Unsqueeze", [builder.tensor(inputs), graph.constant(np.array([1]))])
    away = graph.node("Sub", [rows, builder.constant(model.theta_)])
    terms = graph.node("Div", [graph.node("Mul", [away, away]), builder.constant(model.var_)])
    total = graph.node("ReduceSum", [terms, graph.constant(np.array([2]))], keepdims=0)
    prior = np.log(model.class_prior_) - 0.5 * np.sum(np.log(2.0 * np.pi * model.var_), axis=1)
    half = graph.node("Mul", [total, builder.constant([0.5])])
    scores = graph.node("Sub", [builder.constant(prior), half])
    return PredictionTensors(
        family="GaussianNB",
        class_labels=class_labels(model),
        label=arg_max(builder, scores),
        probabilities=from_logs(builder, scores, len(model.classes_)),
    )


@lowers_model(MultinomialNB, ComplementNB)
def lower_counting_nb(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The softmax over each class's log likelihood of counts."""
    prior = model.class_log_prior_ if type(model) is MultinomialNB else np.zeros(len(model.classes_))
    return _softmax_of_line(builder, model, inputs, model.feature_log_prob_, prior)


@lowers_model(BernoulliNB)
def lower_bernoulli_nb(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The softmax over each class's log likelihood of present and absent terms."""
    if model.binarize is not None:
        inputs = binarize(builder, inputs, float(model.binarize))
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    prior = model.class_log_prior_ + absent.sum(axis=1)
    return _softmax_of_line(builder, model, inputs, model.feature_log_prob_ - absent, prior)


def _softmax_of_line(
    builder: GraphBuilder,
    model: Any,
    inputs: SymbolicColumns,
    weights: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> PredictionTensors:
    graph = builder.graph
    scores = graph.node("Add", [builder.product(inputs, weights.T), builder.constant(offset)])
    return PredictionTensors(
        family=type(model).__name__,
        class_labels=class_labels(model),
        label=arg_max(builder, scores),
        probabilities=from_logs(builder, scores, len(weights)),
        margin=margin_of(scores, len(weights), "softmax"),
    )
