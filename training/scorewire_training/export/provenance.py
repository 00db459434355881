"""The provenance of a bundle: its libraries and a fingerprint of its data."""

from __future__ import annotations

import hashlib
import platform

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import skl2onnx
import sklearn
import xgboost

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.frames import Features, WireRows

_LIBRARIES = {
    "lightgbm": lightgbm,
    "numpy": np,
    "onnx": onnx,
    "onnxruntime": onnxruntime,
    "pandas": pd,
    "scikit-learn": sklearn,
    "skl2onnx": skl2onnx,
    "xgboost": xgboost,
}


def build_provenance(family: str, features: Features, rows: WireRows) -> manifest_pb2.Provenance:
    """The provenance of a model, with the rows of its sample."""
    versions = {name: str(module.__version__) for name, module in _LIBRARIES.items()}
    return manifest_pb2.Provenance(
        family=family,
        library_versions={**versions, "python": platform.python_version()},
        data_fingerprint=data_fingerprint(features, rows),
        sample_rows=len(rows),
    )


def data_fingerprint(features: Features, rows: WireRows) -> str:
    """The SHA-256 of names, kinds and values of the features, row after row, in lower-case hex.

    Numbers enter as little-endian doubles, with one NaN and one zero; texts as UTF-8
    after their length.
    """
    digest = hashlib.sha256()
    for name, kind in features:
        _update(digest, name)
        digest.update(bytes([kind]))
    numbers = np.where(np.isnan(rows.numbers), np.nan, rows.numbers) + 0.0
    digest.update(np.ascontiguousarray(numbers, dtype="<f8").tobytes())
    for text in rows.flat_texts():
        _update(digest, text)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    digest.update(len(content).to_bytes(8, "little") + content)
