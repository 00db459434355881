"""Scores rows with a bundle on disk as a server does, to compare with the fitted model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scorewire_contract.bundle import read_bundle
from scorewire_contract.scoring import Scorer, Scores
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.runtime import open_graph


def score_rows(path: Path, frame: pd.DataFrame) -> Scores:
    """Score the rows of a data frame with a bundle, with missing values as NaN or ""."""
    bundle = read_bundle(path)
    schema = bundle.manifest.schema
    numbers = [each.name for each in schema.features if each.kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [each.name for each in schema.features if each.kind == schema_pb2.FEATURE_KIND_TEXT]
    return Scorer(schema, bundle.manifest.coding, open_graph(bundle.graph)).score(
        len(frame),
        frame[numbers].to_numpy(np.float64).ravel(),
        frame[texts].astype(object).fillna("").to_numpy().ravel().tolist(),
    )
