"""The transformers of text columns of `estimators`: cleaning, frequencies and rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_contract.folding import ascii_lower_strip
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.estimators.transformers import (
    LEAST_EXPOSURE,
    FrequencyEncoder,
    RateEncoder,
    TextCleaner,
)
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import row_sum
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.rules.encoding import lower_tables, transform_plain
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    RawText,
    SymbolicColumns,
    is_null,
    tensor_columns,
)


@lowers_step(FrequencyEncoder)
def lower_frequency(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Encode each text as its share of the training rows."""

    def read(asked: list[list[object]]) -> list[NDArray[np.float64]]:
        shares = transform_plain(step, asked)
        return [shares[:, [i]] for i in range(shares.shape[1])]

    categories = [np.array(list(shares), dtype=object) for shares in step.frequencies_]
    return lower_tables(builder, _clean(step, inputs, folds=False), read, categories, strict=False)


@lowers_step(RateEncoder)
def lower_rates(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The logarithm of the expected amount, whether there are any counts, then each text's effect."""
    graph = builder.graph
    counts = builder.tensor(inputs.take(range(inputs.width - step.count_columns, inputs.width)))
    zero = builder.constant([0.0])
    # NaN is not greater than zero either.
    counts = graph.node("Where", [graph.node("Greater", [counts, zero]), counts, zero])
    exposure = row_sum(builder, counts, step.count_columns)
    some = builder.cast(graph.node("Greater", [exposure, zero]), TensorProto.DOUBLE)
    # No exposure is missing, so one Clip node is enough.
    bounds = [builder.constant(LEAST_EXPOSURE), builder.constant(step.largest_exposure_)]
    logarithm = graph.curve("Log", graph.node("Clip", [exposure, *bounds]), 1)

    def read(asked: list[list[object]]) -> list[NDArray[np.float64]]:
        return [
            np.array([[known.get(str(text), 0.0)] for text in texts])
            for known, texts in zip(step.effects_, asked, strict=True)
        ]

    texts = _clean(
        step,
        inputs.take(range(inputs.width - step.count_columns)),
        folds=step.fold == "ascii_lower_strip",
    )
    categories = [np.array(list(known), dtype=object) for known in step.effects_]
    effects = lower_tables(builder, texts, read, categories, strict=False)
    rate = graph.node(
        "Add", [row_sum(builder, builder.tensor(effects), effects.width), builder.constant([step.mean_])]
    )
    expected = graph.node("Add", [logarithm, rate])
    return SymbolicColumns((*tensor_columns(expected, 1), *tensor_columns(some, 1), *effects.columns))


@lowers_step(TextCleaner)
def lower_text_cleaner(_builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Texts stay texts; the row coding applies the fold."""
    return _clean(step, inputs, folds=step.fold == "ascii_lower_strip")


def _clean(step: object, inputs: SymbolicColumns, *, folds: bool) -> SymbolicColumns:
    """The texts as the transformers of `estimators` read them: "" for missing, folded if `folds`."""
    columns: list[Column] = []
    for column in inputs.columns:
        if not isinstance(column, RawText):
            raise UnsupportedModelError(
                f"a {type(step).__name__} is given a column that is not text",
                "give it text columns only",
            )
        fold = manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP if folds else column.fold
        texts = ["" if is_null(spelling) else str(spelling) for spelling in column.spellings] or [""]
        if folds:
            texts = [ascii_lower_strip(text) for text in texts]
        columns.append(RawText(column.feature, fold, tuple(dict.fromkeys(texts))))
    return replace(inputs, columns=tuple(columns))
