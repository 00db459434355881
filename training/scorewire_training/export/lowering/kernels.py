"""Support vectors, in double: what libsvm sums up over them, and what scikit-learn makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.svm import SVR, NuSVR, OneClassSVM

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.answer import OUTLIER_LABELS, Answer, answers
from scorewire_training.export.lowering.draft import Draft
from scorewire_training.export.lowering.matrix import Matrix
from scorewire_training.export.lowering.scaling import row_sum


@answers(SVR, NuSVR)
def lower_support_vector_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The sum over the support vectors."""
    return Answer(family=type(model).__name__, value=_sum(draft, model, matrix))


@answers(OneClassSVM)
def lower_one_class(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The sum over the support vectors; rows above 0 are like those of training."""
    decision = _sum(draft, model, matrix)
    inside = draft.graph.node("Greater", [decision, draft.constant([0.0])])
    return Answer(
        family="OneClassSVM",
        value=decision,
        class_labels=OUTLIER_LABELS,
        label=draft.cast(inside, TensorProto.INT64),
    )


def _sum(draft: Draft, model: Any, matrix: Matrix) -> str:
    """Weighted kernels of the row and each support vector, plus the intercept; [rows, 1]."""
    graph, vectors, weights = draft.graph, model.support_vectors_, model.dual_coef_
    vectors, weights = (part.toarray() if hasattr(part, "toarray") else part for part in (vectors, weights))
    x = draft.tensor(matrix)
    cross = graph.node("MatMul", [x, draft.constant(vectors.T)])
    gamma = draft.constant([float(model._gamma)])
    match model.kernel:
        case "linear":
            kernel = cross
        case "rbf":
            square = row_sum(draft, graph.node("Mul", [x, x]), matrix.width)
            both = graph.node("Add", [square, draft.constant((vectors**2).sum(axis=1))])
            distance = graph.node("Sub", [both, graph.node("Mul", [cross, draft.constant([2.0])])])
            # Where both parts overflow, their difference is no number: such a row is infinitely far away.
            lost = graph.node("IsNaN", [distance])
            distance = graph.node("Where", [lost, draft.constant([np.inf]), distance])
            kernel = graph.node("Exp", [graph.node("Neg", [graph.node("Mul", [gamma, distance])])])
        case "poly" | "sigmoid":
            line = graph.node("Mul", [gamma, cross])
            line = graph.node("Add", [line, draft.constant([float(model.coef0)])])
            if model.kernel == "poly":
                kernel = graph.node("Pow", [line, draft.constant([float(model.degree)])])
            else:
                kernel = graph.node("Tanh", [line])
        case other:
            name = other if isinstance(other, str) else getattr(other, "__name__", "a function")
            raise UnsupportedModelError(
                f"{type(model).__name__}'s kernel {name!r} cannot be translated",
                "use 'linear', 'poly', 'rbf' or 'sigmoid'",
            )
    total = graph.node("MatMul", [kernel, draft.constant(np.asarray(weights).T)])
    return graph.node("Add", [total, draft.constant(model.intercept_)])
