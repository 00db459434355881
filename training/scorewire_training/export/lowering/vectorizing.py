"""Rules for bags of words: texts go into the graph, which splits and counts them.

A graph can split texts at spaces and nowhere else, so only vectorizers whose
tokens are what lies between spaces are lowered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.draft import Draft
from scorewire_training.export.lowering.matrix import Matrix, cells
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.scaling import normalize

# The first version of the standard operators that splits texts.
_STRING_OPSET = 20
_WORD_PATTERN = "[^ ]+"


@lowers(CountVectorizer)
def lower_counts(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """How often each known word, or run of words, occurs."""
    counts = _count(draft, step, matrix)
    return Matrix(cells(counts, len(step.vocabulary_)), sparse=True)


@lowers(TfidfVectorizer)
def lower_weighed_counts(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Counts weighed by rarity, each row over its norm."""
    counts, width = _count(draft, step, matrix), len(step.vocabulary_)
    return Matrix(cells(_weigh(draft, step._tfidf, counts, width), width), sparse=True)


@lowers(TfidfTransformer)
def lower_weights(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Numbers weighed by rarity, each row over its norm."""
    weighed = _weigh(draft, step, draft.tensor(matrix), matrix.width)
    return replace(matrix.by_row(), sparse=True).changed(cells(weighed, matrix.width))


def _count(draft: Draft, step: Any, matrix: Matrix) -> str:
    """Counts, or ones where they are binary: double, [rows, words]."""
    _check(step, matrix)
    graph = draft.graph
    graph.opset = max(graph.opset, _STRING_OPSET)
    column = graph.node("Reshape", [draft.texts(matrix), graph.constant(np.array([-1]))])
    # Short rows are filled up with empty tokens, which no vocabulary has.
    tokens = graph.nodes("StringSplit", [column], 2)[0]
    shortest, longest = step.ngram_range
    runs: list[list[tuple[list[str], int]]] = [[] for _ in range(longest)]
    for words, place in step.vocabulary_.items():
        run = words.split(" ")
        if shortest <= len(run) <= longest:
            runs[len(run) - 1].append((run, int(place)))
    starts = np.concatenate([[0], np.cumsum([len(group) * (i + 1) for i, group in enumerate(runs)])])
    counts = graph.node(
        "TfIdfVectorizer",
        [tokens],
        mode="TF",
        min_gram_length=shortest,
        max_gram_length=longest,
        max_skip_count=0,
        ngram_counts=[int(start) for start in starts[:-1]],
        ngram_indexes=[place for group in runs for _, place in group],
        pool_strings=[word for group in runs for run, _ in group for word in run],
    )
    counts = draft.cast(counts, TensorProto.DOUBLE)
    if not step.binary:
        return counts
    return draft.cast(graph.node("Greater", [counts, draft.constant([0.0])]), TensorProto.DOUBLE)


def _weigh(draft: Draft, weights: Any, counts: str, width: int) -> str:
    graph = draft.graph
    if weights.sublinear_tf:
        some = graph.node("Greater", [counts, draft.constant([0.0])])
        log = graph.node("Add", [graph.node("Log", [counts]), draft.constant([1.0])])
        counts = graph.node("Where", [some, log, counts])
    if weights.use_idf:
        counts = graph.node("Mul", [counts, draft.constant(weights.idf_)])
    return counts if weights.norm is None else normalize(draft, counts, width, weights.norm)


def _check(step: Any, matrix: Matrix) -> None:
    """Refuse what a graph would split into other tokens."""
    name = type(step).__name__
    if not matrix.flat:
        raise UnsupportedModelError(
            f"a {name} takes one column, and rows with named features are a table",
            f'put it in a ColumnTransformer([("text", {name}(...), "<column>")])',
        )
    splits = step.analyzer == "word" and step.tokenizer is None and step.preprocessor is None
    removes = (
        step.strip_accents is not None or step.lowercase or (step.stop_words and step.ngram_range[1] > 1)
    )
    if not splits or removes or step.token_pattern != _WORD_PATTERN:
        raise UnsupportedModelError(
            f"a graph splits texts at spaces only, and this {name} does more to them",
            f"use {name}(token_pattern={_WORD_PATTERN!r}, lowercase=False), without stop words among"
            " runs of words, and fold the texts before it:"
            f" make_pipeline(TextCleaner(), FunctionTransformer(numpy.ravel), {name}(...)) on [<column>]",
        )
