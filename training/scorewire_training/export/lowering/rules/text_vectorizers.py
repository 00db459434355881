"""Text vectorizers: texts are split and counted outside the graph, and the graph weights the counts."""

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
from scorewire_training.export.lowering.arithmetic import normalize
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.sparse_counts import (
    SparseCounts,
    count_columns,
    count_once,
    log_counts,
    normalize_counts,
    scale_counts,
)
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns
from scorewire_training.export.lowering.tokenization import describe_vectorizer, unicode_version


@lowers_step(CountVectorizer)
def lower_counts(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The number of occurrences of each known term."""
    return _sparse(_count(builder, step, inputs))


@lowers_step(HashingVectorizer)
def lower_hashes(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The number of terms with each hash, normalized by row if the step has a norm."""
    counts = _count(builder, step, inputs)
    if step.norm is not None:
        counts = normalize_counts(builder.graph, counts, step.norm)
    return _sparse(counts)


@lowers_step(TfidfVectorizer)
def lower_tf_idf_counts(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Counts weighted by inverse document frequency, normalized by row."""
    return _sparse(_weigh(builder, step._tfidf, _count(builder, step, inputs)))


@lowers_step(TfidfTransformer)
def lower_tf_idf(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Numbers weighted by inverse document frequency, normalized by row."""
    counts = builder.counts(inputs)
    if counts is not None:
        return _sparse(_weigh(builder, step, counts))
    graph, x = builder.graph, builder.tensor(inputs)
    if step.sublinear_tf:
        some = graph.node("Greater", [x, builder.constant([0.0])])
        log = graph.node("Add", [graph.node("Log", [x]), builder.constant([1.0])])
        x = graph.node("Where", [some, log, x])
    if step.use_idf:
        x = graph.node("Mul", [x, builder.constant(step.idf_)])
    if step.norm is not None:
        x = normalize(builder, x, inputs.width, step.norm)
    return replace(inputs.by_row(), sparse=True).changed(tensor_columns(x, inputs.width))


def _sparse(counts: SparseCounts) -> SymbolicColumns:
    return SymbolicColumns(count_columns(counts), sparse=True)


def _count(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SparseCounts:
    name = type(step).__name__
    if not inputs.flat:
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
    counts = builder.count(inputs, describe_vectorizer(step, unicode_version()))
    return count_once(builder.graph, counts) if step.binary else counts


def _weigh(builder: GraphBuilder, weights: Any, counts: SparseCounts) -> SparseCounts:
    if weights.sublinear_tf:
        counts = log_counts(builder.graph, counts)
    if weights.use_idf:
        counts = scale_counts(builder.graph, counts, weights.idf_)
    return counts if weights.norm is None else normalize_counts(builder.graph, counts, weights.norm)
