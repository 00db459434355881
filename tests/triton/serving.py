"""Exports and serves the models that Triton's public examples use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx import TensorProto

from scorewire_training.export import export_onnx
from tests.onnx_models import write_mixed, write_simple, write_simple_identity, write_simple_string
from tests.processes import ServerProcess, serving


def export_models(folder: Path) -> Path:
    """Export eight models: those that the examples use, and others."""
    output = folder / "models"
    files = {
        "simple": write_simple(folder / "simple.onnx"),
        "simple_one_row": write_simple(folder / "simple_one_row.onnx", rows=1),
        "simple_int8": write_simple(folder / "simple_int8.onnx", kind=TensorProto.INT8),
        "simple_string": write_simple_string(folder / "simple_string.onnx"),
        "simple_identity": write_simple_identity(folder / "simple_identity.onnx"),
        "mixed": write_mixed(folder / "mixed.onnx"),
        "mixed_row_by_row": write_mixed(folder / "mixed_row_by_row.onnx", rows=1, reshaped=1),
        "simple_fp32": write_simple(folder / "simple_fp32.onnx", kind=TensorProto.FLOAT),
    }
    for name, path in files.items():
        export_onnx(path, name=name, version="1.0.0", output_dir=output)
    return output


@contextmanager
def served(folder: Path, engine: str) -> Iterator[ServerProcess]:
    """A server with these models."""
    with serving(folder, export_models(folder), "--engine", engine) as server:
        yield server
