"""Exports fitted models and ONNX files as verified bundles."""

from __future__ import annotations

from scorewire_training.export.bundle_writing import ExportedBundle
from scorewire_training.export.bundling import export_bundle
from scorewire_training.export.errors import ExportError, ParityError, UnsupportedModelError
from scorewire_training.export.onnx_file import export_onnx
from scorewire_training.export.parity.gate import ParityReport
from scorewire_training.export.tolerance import Tolerance

__all__ = [
    "ExportError",
    "ExportedBundle",
    "ParityError",
    "ParityReport",
    "Tolerance",
    "UnsupportedModelError",
    "export_bundle",
    "export_onnx",
]
