"""Lowers fitted pipelines to graphs: every step has a rule, and texts are coded outside the graph.

A rule works on symbolic columns (`symbolic_columns`) and adds nodes through the
graph builder (`graph_builder`). Rules are in `rules`, one module for each kind, and
`registry` finds the rule of a fitted object.
"""

from __future__ import annotations

from scorewire_training.export.lowering import rules  # noqa: F401 - registers all rules
from scorewire_training.export.lowering.lowered_model import LoweredModel, lower

__all__ = ["LoweredModel", "lower"]
