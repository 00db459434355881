"""Models that ask little of their rows: dummies, clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AffinityPropagation, Birch, KMeans, MeanShift, MiniBatchKMeans
from sklearn.dummy import DummyClassifier, DummyRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import (
    Answer,
    answers,
    arg_max,
    class_labels,
    several_labels,
)
from scorewire_training.export.lowering.symbolic_columns import Coded, Matrix, Number


@answers(DummyRegressor)
def lower_dummy_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The same numbers for every row."""
    value = np.asarray(model.constant_, dtype=np.float64).reshape(1, -1)
    return Answer(family="DummyRegressor", value=_constant(draft, value, matrix), width=value.shape[1])


@answers(DummyClassifier)
def lower_dummy_classifier(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The same probabilities for every row."""
    if model.strategy not in ("prior", "most_frequent", "constant"):
        raise UnsupportedModelError(
            f"DummyClassifier with strategy={model.strategy!r} draws its answers by lot",
            "use strategy='prior'",
        )
    several = isinstance(model.classes_, list)
    told = (model.classes_, model.class_prior_) if several else ([model.classes_], [model.class_prior_])
    guesses = []
    for target, (classes, prior) in enumerate(zip(*told, strict=True)):
        labels = tuple(str(label) for label in classes) if several else class_labels(model)
        chosen = int(np.argmax(prior))
        if model.strategy == "constant":
            chosen = labels.index(str(np.ravel(model.constant)[target]))
        shares = np.asarray(prior, np.float64) if model.strategy == "prior" else np.eye(len(labels))[chosen]
        guesses.append(_guess(draft, matrix, labels, shares, chosen))
    return several_labels(draft, "DummyClassifier", guesses) if several else guesses[0]


def _guess(
    draft: Draft, matrix: Matrix, labels: tuple[str, ...], shares: NDArray[np.float64], chosen: int
) -> Answer:
    label = _constant(draft, np.eye(len(labels))[[chosen]], matrix)
    return Answer(
        family="DummyClassifier",
        class_labels=labels,
        label=arg_max(draft, label),
        probabilities=_constant(draft, shares[np.newaxis, :], matrix),
    )


@answers(AffinityPropagation, Birch, MeanShift)
def refuse_centers(draft: Draft, model: Any, matrix: Matrix) -> Answer:  # noqa: ARG001 - a rule's signature
    """Each row's own square is in their distances: far away all centers are equally near but for rounding."""
    raise UnsupportedModelError(
        f"a graph would find other centers than {type(model).__name__} for rows far away", "use KMeans"
    )


@answers(KMeans, MiniBatchKMeans)
def lower_k_means(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The nearest center, by squared distances without each row's own square."""
    graph, centers = draft.graph, np.asarray(model.cluster_centers_, dtype=np.float64)
    if model.cluster_centers_.dtype != np.float64:
        raise UnsupportedModelError(
            f"{type(model).__name__} was fitted on float32, in which its distances are rounded",
            "fit it on float64",
        )
    cross = draft.product(matrix, -2.0 * centers.T)
    distance = graph.node("Add", [cross, draft.constant((centers**2).sum(axis=1))])
    return Answer(
        family=type(model).__name__,
        class_labels=tuple(str(i) for i in range(len(centers))),
        label=graph.node("ArgMin", [distance], axis=1, keepdims=1),
    )


def _constant(draft: Draft, row: NDArray[np.float64], matrix: Matrix) -> str:
    """The same row for every row of the matrix, which it reads a number of for their count."""
    number = next((i for i, column in enumerate(matrix.columns) if isinstance(column, Number | Coded)), 0)
    x = draft.tensor(matrix.take([number]))
    value = draft.constant(row)
    return draft.graph.node("Where", [draft.graph.node("IsNaN", [x]), value, value])
