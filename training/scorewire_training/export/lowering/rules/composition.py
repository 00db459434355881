"""Rules for steps that are made of steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.pipelines import IMBALANCED, steps_at_predict
from scorewire_training.export.lowering.registry import lower_step, lowers
from scorewire_training.export.lowering.rules.scaling import times
from scorewire_training.export.lowering.symbolic_columns import Matrix, beside


@lowers(Pipeline, IMBALANCED)
def lower_pipeline(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """One step after the other."""
    for member in steps_at_predict(step) or ():
        matrix = lower_step(draft, member, matrix)
    return matrix


@lowers(ColumnTransformer)
def lower_column_transformer(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Each transformer on its columns, side by side."""
    parts: list[Matrix] = []
    for name, member, selection in step.transformers_:
        places = step._transformer_to_input_indices[name]
        if not len(places) or (isinstance(member, str) and member == "drop"):
            continue
        # A lone name or number, not in a list, selects a column of shape [rows].
        flat = isinstance(selection, str | int | np.integer)
        parts.append(lower_step(draft, member, replace(matrix.take(places), flat=flat)))
    return beside(parts, sparse=bool(step.sparse_output_))


@lowers(FeatureUnion)
def lower_feature_union(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Each transformer on all columns, side by side, perhaps weighted."""
    parts: list[Matrix] = []
    weights = step.transformer_weights or {}
    for name, member in step.transformer_list:
        if isinstance(member, str) and member == "drop":
            continue
        part = lower_step(draft, member, matrix)
        if name in weights:
            part = times(draft, part, np.array([float(weights[name])]))
        parts.append(part)
    return beside(parts, sparse=any(part.sparse for part in parts))
