"""Models of normal distributions: mixtures, one around all rows, one for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import arg_max, from_logs, row_sum
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    class_labels,
    outlier_prediction,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns


@lowers_model(GaussianMixture, BayesianGaussianMixture)
def lower_gaussian_mixture(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The softmax over each component's weighted log likelihood; the cluster is the likeliest one."""
    graph, x, width = builder.graph, builder.tensor(inputs), inputs.width
    if model.covariance_type not in ("full", "tied"):
        raise UnsupportedModelError(
            f"{type(model).__name__} with covariance_type={model.covariance_type!r} takes squares off each"
            " other, whose last bits decide far away",
            "fit it with covariance_type='full'",
        )
    cholesky = model.precisions_cholesky_
    norms = []
    for place, mean in enumerate(model.means_):
        factor = cholesky if model.covariance_type == "tied" else cholesky[place]
        away = graph.node("MatMul", [x, builder.constant(factor)])
        away = graph.node("Sub", [away, builder.constant(mean @ factor)])
        norms.append(row_sum(builder, graph.node("Mul", [away, away]), width))
    norm = graph.node("Concat", norms, axis=1)
    # The weighted log likelihood at a component's mean is its constant part.
    begin = np.diag(model._estimate_weighted_log_prob(model.means_))
    scores = graph.node("Add", [graph.node("Mul", [norm, builder.constant([-0.5])]), builder.constant(begin)])
    return PredictionTensors(
        family=f"{type(model).__name__} ({model.covariance_type})",
        class_labels=tuple(str(place) for place in range(len(model.means_))),
        label=arg_max(builder, scores),
        probabilities=from_logs(builder, scores, len(model.means_)),
    )


@lowers_model(EllipticEnvelope)
def lower_elliptic_envelope(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The offset minus the squared Mahalanobis distance; rows from 0 on are like the training rows."""
    graph = builder.graph
    away = graph.node("Sub", [builder.tensor(inputs), builder.constant(model.location_)])
    turned = graph.node("MatMul", [away, builder.constant(model.get_precision())])
    square = row_sum(builder, graph.node("Mul", [turned, away]), inputs.width)
    decision = graph.node("Sub", [builder.constant([-float(model.offset_)]), square])
    inside = graph.node("GreaterOrEqual", [decision, builder.constant([0.0])])
    return outlier_prediction(builder, "EllipticEnvelope", decision, inside)


@lowers_model(QuadraticDiscriminantAnalysis)
def lower_quadratic(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The softmax over each class's log posterior, in double."""
    graph, x = builder.graph, builder.tensor(inputs)
    norms = []
    for rotation, scaling, mean in zip(model.rotations_, model.scalings_, model.means_, strict=True):
        away = graph.node("Sub", [x, builder.constant(mean)])
        away = graph.node("MatMul", [away, builder.constant(rotation * scaling**-0.5)])
        norms.append(row_sum(builder, graph.node("Mul", [away, away]), rotation.shape[1]))
    spread = np.array([np.sum(np.log(scaling)) for scaling in model.scalings_])
    norm = graph.node("Add", [graph.node("Concat", norms, axis=1), builder.constant(spread)])
    half = graph.node("Mul", [norm, builder.constant([-0.5])])
    scores = graph.node("Add", [half, builder.constant(np.log(model.priors_))])
    return PredictionTensors(
        family="QuadraticDiscriminantAnalysis",
        class_labels=class_labels(model),
        label=arg_max(builder, scores),
        probabilities=graph.node("Softmax", [scores], axis=1),
    )
