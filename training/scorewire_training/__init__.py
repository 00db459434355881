"""Offline training: data, features, fitted pipelines and verified ONNX bundles."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("xgboost") is None:
    raise ModuleNotFoundError(
        "Scorewire's training needs XGBoost, from either distribution: pip install"
        " 'scorewire-training[xgboost-cpu]', or 'scorewire-training[xgboost]' to train on GPUs",
        name="xgboost",
    )

if TYPE_CHECKING:
    from scorewire_training.export import ExportedBundle, Tolerance, export_bundle, export_onnx

__all__ = ["ExportedBundle", "Tolerance", "export_bundle", "export_onnx"]


def __getattr__(name: str) -> Any:
    """Import the exporter on first use only: the exporter imports every library of models."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scorewire_training import export  # noqa: PLC0415 - lazy on purpose

    return getattr(export, name)
