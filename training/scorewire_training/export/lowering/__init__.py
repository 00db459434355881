"""Fitted pipelines to graphs: every step by a rule of its own, text coded outside the graph."""

from __future__ import annotations

from scorewire_training.export.lowering import (  # noqa: F401 - modules that register rules when imported
    catboost,
    composition,
    conversion,
    encoding,
    ensembles,
    gaussians,
    imputing,
    isolation,
    kernels,
    linear,
    multiclass,
    multioutput,
    near_imputing,
    neighbors,
    numeric_models,
    plain_models,
    projections,
    quantiles,
    scaling,
    splines,
    vectorizing,
)
from scorewire_training.export.lowering.model import LoweredModel, lower

__all__ = ["LoweredModel", "lower"]
