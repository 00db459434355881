"""Fitted pipelines to graphs: every step by a rule of its own, text coded outside the graph."""

from __future__ import annotations

# The modules that only register rules.
from scorewire_training.export.lowering import (
    composition as composition,
)
from scorewire_training.export.lowering import (
    conversion as conversion,
)
from scorewire_training.export.lowering import (
    encoding as encoding,
)
from scorewire_training.export.lowering import (
    imputing as imputing,
)
from scorewire_training.export.lowering import (
    linear as linear,
)
from scorewire_training.export.lowering import (
    scaling as scaling,
)
from scorewire_training.export.lowering.model import LoweredModel, lower

__all__ = ["LoweredModel", "lower"]
