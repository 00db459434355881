"""Fitted pipelines to graphs: every step by a rule of its own, text coded outside the graph."""

from __future__ import annotations

from scorewire_training.export.lowering import rules  # noqa: F401 - registers all rules
from scorewire_training.export.lowering.lowered_model import LoweredModel, lower

__all__ = ["LoweredModel", "lower"]
