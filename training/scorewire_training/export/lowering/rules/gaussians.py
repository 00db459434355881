"""Rules for models of what is likely: mixtures of normal distributions, and one around all."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import Answer, answers, arg_max, outlier_answer
from scorewire_training.export.lowering.rules.scaling import from_logs, row_sum
from scorewire_training.export.lowering.symbolic_columns import Matrix


@answers(GaussianMixture, BayesianGaussianMixture)
def lower_gaussian_mixture(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Softmax over each component's weighted log likelihood; the cluster is the likeliest."""
    graph, x, width = draft.graph, draft.tensor(matrix), matrix.width
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
        away = graph.node("MatMul", [x, draft.constant(factor)])
        away = graph.node("Sub", [away, draft.constant(mean @ factor)])
        norms.append(row_sum(draft, graph.node("Mul", [away, away]), width))
    norm = graph.node("Concat", norms, axis=1)
    # A component's mean is as likely as its constant part says.
    begin = np.diag(model._estimate_weighted_log_prob(model.means_))
    scores = graph.node("Add", [graph.node("Mul", [norm, draft.constant([-0.5])]), draft.constant(begin)])
    return Answer(
        family=f"{type(model).__name__} ({model.covariance_type})",
        class_labels=tuple(str(place) for place in range(len(model.means_))),
        label=arg_max(draft, scores),
        probabilities=from_logs(draft, scores, len(model.means_)),
    )


@answers(EllipticEnvelope)
def lower_elliptic_envelope(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The offset's distance from the squared Mahalanobis distance; rows within are like those of training."""
    graph = draft.graph
    away = graph.node("Sub", [draft.tensor(matrix), draft.constant(model.location_)])
    turned = graph.node("MatMul", [away, draft.constant(model.get_precision())])
    square = row_sum(draft, graph.node("Mul", [turned, away]), matrix.width)
    decision = graph.node("Sub", [draft.constant([-float(model.offset_)]), square])
    inside = graph.node("GreaterOrEqual", [decision, draft.constant([0.0])])
    return outlier_answer(draft, "EllipticEnvelope", decision, inside)
