"""Steps that keep some of their columns as they are."""

from __future__ import annotations

from typing import Any

from sklearn.feature_selection import SelectorMixin

from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_other_steps
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns


@lowers_other_steps
def lower_selector(_builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns | None:
    """The columns that scikit-learn's selectors keep, however they chose; None for any other step."""
    if not isinstance(step, SelectorMixin) or type(step).transform is not SelectorMixin.transform:
        return None
    support = step.get_support()
    inputs.check_width(step, len(support))
    return inputs.take(int(i) for i in support.nonzero()[0]).by_row()
