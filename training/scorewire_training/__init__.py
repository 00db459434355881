"""Offline training: data, features, fitted pipelines and verified ONNX bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorewire_training.export import ExportedBundle, Tolerance, export_bundle, export_onnx

__all__ = ["ExportedBundle", "Tolerance", "export_bundle", "export_onnx"]


def __getattr__(name: str) -> Any:
    """Bring the exporter in when it is asked for: it imports every library of models."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scorewire_training import export  # noqa: PLC0415 - lazy on purpose

    return getattr(export, name)
