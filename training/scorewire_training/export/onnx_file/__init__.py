"""ONNX files that another tool wrote, exported as bundles."""

from __future__ import annotations

from scorewire_training.export.onnx_file.exporting import export_onnx, read_arrays

__all__ = ["export_onnx", "read_arrays"]
