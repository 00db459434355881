"""Steps that are made of steps: pipelines, column transformers and unions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from scorewire_training.export.lowering.arithmetic import scale_columns
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.pipelines import IMBALANCED, steps_at_predict
from scorewire_training.export.lowering.registry import lower_step, lowers_step
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, join_columns


@lowers_step(Pipeline, IMBALANCED)
def lower_pipeline(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Apply one step after the other."""
    for member in steps_at_predict(step) or ():
        inputs = lower_step(builder, member, inputs)
    return inputs


@lowers_step(ColumnTransformer)
def lower_column_transformer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Apply each transformer to its columns, and join the results side by side."""
    parts: list[SymbolicColumns] = []
    for name, member, selection in step.transformers_:
        places = step._transformer_to_input_indices[name]
        if not len(places) or (isinstance(member, str) and member == "drop"):
            continue
        # A single name or number, not in a list, selects a column of shape [rows].
        flat = isinstance(selection, str | int | np.integer)
        parts.append(lower_step(builder, member, replace(inputs.take(places), flat=flat)))
    return join_columns(parts, sparse=bool(step.sparse_output_))


@lowers_step(FeatureUnion)
def lower_feature_union(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Apply each transformer to all columns, and join the results side by side, with their weights."""
    parts: list[SymbolicColumns] = []
    weights = step.transformer_weights or {}
    for name, member in step.transformer_list:
        if isinstance(member, str) and member == "drop":
            continue
        part = lower_step(builder, member, inputs)
        if name in weights:
            part = scale_columns(builder, part, np.array([float(weights[name])]))
        parts.append(part)
    return join_columns(parts, sparse=any(part.sparse for part in parts))
