"""Rules for bags of words: texts are cut and counted outside the graph, which weighs the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.rules.scaling import normalize
from scorewire_training.export.lowering.sparse_counts import (
    Counts,
    count_once,
    log_counts,
    normalize_counts,
    scale_counts,
    terms,
)
from scorewire_training.export.lowering.symbolic_columns import Matrix, cells
from scorewire_training.export.lowering.tokenization import bag_of, unicode_version


@lowers(CountVectorizer)
def lower_counts(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """How often each known term occurs."""
    return _sparse(_count(draft, step, matrix))


@lowers(HashingVectorizer)
def lower_hashes(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """How often terms of each hash occur, each row over its norm."""
    counts = _count(draft, step, matrix)
    if step.norm is not None:
        counts = normalize_counts(draft.graph, counts, step.norm)
    return _sparse(counts)


@lowers(TfidfVectorizer)
def lower_weighed_counts(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Counts weighed by rarity, each row over its norm."""
    return _sparse(_weigh(draft, step._tfidf, _count(draft, step, matrix)))


@lowers(TfidfTransformer)
def lower_weights(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Numbers weighed by rarity, each row over its norm."""
    counts = draft.counts(matrix)
    if counts is not None:
        return _sparse(_weigh(draft, step, counts))
    graph, x = draft.graph, draft.tensor(matrix)
    if step.sublinear_tf:
        some = graph.node("Greater", [x, draft.constant([0.0])])
        log = graph.node("Add", [graph.node("Log", [x]), draft.constant([1.0])])
        x = graph.node("Where", [some, log, x])
    if step.use_idf:
        x = graph.node("Mul", [x, draft.constant(step.idf_)])
    if step.norm is not None:
        x = normalize(draft, x, matrix.width, step.norm)
    return replace(matrix.by_row(), sparse=True).changed(cells(x, matrix.width))


def _sparse(counts: Counts) -> Matrix:
    return Matrix(terms(counts), sparse=True)


def _count(draft: Draft, step: Any, matrix: Matrix) -> Counts:
    name = type(step).__name__
    if not matrix.flat:
        raise UnsupportedModelError(
            f"a {name} takes one column, and rows with named features are a table",
            f'put it in a ColumnTransformer([("text", {name}(...), "<column>")]); of a model that was fitted'
            " on one column of texts alone, pass that column (a pandas Series) as the sample",
        )
    if np.dtype(step.dtype) not in (np.dtype(np.int64), np.dtype(np.float64)):
        raise UnsupportedModelError(
            f"the {name} counts in {np.dtype(step.dtype)}, in which scores are rounded",
            "leave its dtype at the default",
        )
    counts = draft.count(matrix, bag_of(step, unicode_version()))
    return count_once(draft.graph, counts) if step.binary else counts


def _weigh(draft: Draft, weights: Any, counts: Counts) -> Counts:
    if weights.sublinear_tf:
        counts = log_counts(draft.graph, counts)
    if weights.use_idf:
        counts = scale_counts(draft.graph, counts, weights.idf_)
    return counts if weights.norm is None else normalize_counts(draft.graph, counts, weights.norm)
