"""The explanation of a model: how each output follows from the caller's columns."""

from __future__ import annotations

from scorewire_training.export.explanation.describing import describe_explanation
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.explaining import ExplainedModel, explain_model
from scorewire_training.export.explanation.frame_explainer import FrameExplainer, FrameExplanation
from scorewire_training.export.explanation.proof import prove_explanation

__all__ = [
    "ExplainedModel",
    "FrameExplainer",
    "FrameExplanation",
    "UnexplainedError",
    "describe_explanation",
    "explain_model",
    "prove_explanation",
]
