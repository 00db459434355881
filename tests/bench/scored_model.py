"""The model under load: trained, exported and proven, with the scores that XGBoost gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_loadtest.calls import PreparedCall, Scores
from scorewire_proto.v1 import packed_pb2
from scorewire_training import export_bundle

FEATURES = 30
TREES = 100
DEPTH = 6
MISSING_SHARE = 0.05
NAME = "bench"


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A bundle, the fitted model that it was exported from, and rows that the model was not fitted on."""

    bundle: Bundle
    fitted: xgboost.XGBClassifier
    rows: NDArray[np.float64]

    def calls(self, *, rows_per_call: int, count: int) -> list[PreparedCall]:
        """Calls whose every score must be that of XGBoost."""
        calls = []
        for call in range(count):
            rows = self.rows.take(
                range(call * rows_per_call, (call + 1) * rows_per_call), axis=0, mode="wrap"
            )
            sent = packed_pb2.PackedRows(row_count=rows_per_call, numbers=[rows.astype("<f8").tobytes()])
            calls.append(call_of(self.bundle, sent, self.fitted.predict_proba(rows)))
        return calls


def call_of(bundle: Bundle, rows: packed_pb2.PackedRows, probabilities: NDArray[Any]) -> PreparedCall:
    """A call whose every score must be that of a classifier, with probabilities of shape [rows, classes]."""
    probabilities = probabilities.astype(np.float64)
    expectation = Scores(
        model=bundle.model,
        version=bundle.version.text,
        outputs=[
            ("probabilities", probabilities.ravel()),
            ("label", probabilities.argmax(axis=1).astype(np.float64)),
        ],
        errors=[],
        tolerances=dict.fromkeys(("probabilities", "label"), bundle.golden.tolerance),
    )
    request = packed_pb2.PackedPredictRequest(
        model=bundle.model, schema_fingerprint=bundle.manifest.schema.fingerprint, rows=rows
    )
    return PreparedCall(request.SerializeToString(), rows.row_count, expectation)


def make_model(folder: Path, *, train_rows: int, name: str = NAME, seed: int = 7) -> ScoredModel:
    """Fit 100 trees of depth 6 on 30 numbers, and export them to a folder.

    The labels are noisy, so that the trees grow to their full depth. Models of other seeds have other trees.
    """
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=FEATURES)

    def make_rows(count: int) -> NDArray[np.float64]:
        rows = draw.normal(size=(count, FEATURES))
        rows[draw.random(rows.shape) < MISSING_SHARE] = np.nan
        return rows

    train = make_rows(train_rows)
    labels = np.nan_to_num(train) @ weights + draw.normal(scale=4.0, size=train_rows) > 0
    frame = pd.DataFrame(train, columns=[f"x{i}" for i in range(FEATURES)])
    fitted = xgboost.XGBClassifier(n_estimators=TREES, max_depth=DEPTH, n_jobs=1, min_child_weight=0)
    fitted.fit(frame, labels)
    exported = export_bundle(fitted, sample=frame, name=name, version="1.0.0", output_dir=folder)
    return ScoredModel(read_bundle(exported.path), fitted, make_rows(5_000))
