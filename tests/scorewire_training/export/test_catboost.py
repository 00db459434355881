"""CatBoost, which is not installed: files that it wrote, and stand-ins for its models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export import UnsupportedModelError, export_onnx
from scorewire_training.export.lowering import lower
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.lowering.scored import score

FOLDER = Path(__file__).parent / "catboost"
TOLD = json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))
ROWS = np.array(TOLD["rows"])
SCORES = {name: np.array(scores) for name, scores in TOLD["scores"].items()}
LOSSES = {"number": "RMSE", "count": "Poisson", "two": "Logloss", "three": "MultiClass"}
CLASSES: dict[str, list[Any]] = {"two": ["no", "yes"], "three": [0, 1, 2]}


class Like:
    """A stand-in for a CatBoost model that answers the export's calls from a file that CatBoost wrote."""

    n_features_in_ = 3
    feature_names_ = ("a", "b", "c")

    def __init__(self, name: str, loss: str = "") -> None:
        self.name, self.loss = name, loss or LOSSES[name]
        if name in CLASSES:
            self.classes_ = np.array(CLASSES[name])

    def get_all_params(self) -> dict[str, Any]:
        return {"loss_function": self.loss}

    def get_borders(self) -> dict[int, list[float]]:
        return dict(enumerate(TOLD["borders"][self.name]))

    def save_model(self, path: str, format: str) -> None:  # noqa: A002 - CatBoost's own name
        assert format == "onnx"
        if self.loss == "categories":
            raise ValueError("ONNX-ML format export does yet not support categorical features")
        shutil.copy(FOLDER / f"{self.name}.onnx", path)


def model_like(kind: str, name: str, loss: str = "") -> Any:
    return type(kind, (Like,), {"__module__": "catboost.core"})(name, loss)


@pytest.mark.parametrize("name", ["number", "two", "three"])
def test_files_that_catboost_wrote_score_as_it_does(name: str, tmp_path: Path) -> None:
    sample = {"features": ROWS.astype(np.float32)}
    exported = export_onnx(
        FOLDER / f"{name}.onnx", name="cat", version="1.0.0", output_dir=tmp_path, sample=sample
    )
    schema = exported.manifest.schema
    scores = score_rows(exported.path, pd.DataFrame(ROWS, columns=[each.name for each in schema.features]))
    assert not scores.errors
    found = dict(zip((output.name for output in schema.outputs), scores.outputs, strict=True))
    if name == "number":
        np.testing.assert_allclose(found["predictions"].ravel(), SCORES[name], rtol=2e-6, atol=2e-6)
        return
    np.testing.assert_allclose(found["probabilities"], SCORES[name], rtol=2e-6, atol=2e-6)
    (shares,) = (output for output in schema.outputs if output.name == "probabilities")
    assert shares.kind == schema_pb2.OUTPUT_KIND_PROBABILITY
    assert list(shares.class_labels) == [str(label) for label in CLASSES[name]]


@pytest.mark.parametrize("name", LOSSES)
def test_models_are_exported_by_the_file_that_catboost_writes(name: str) -> None:
    kind = "CatBoostClassifier" if name in CLASSES else "CatBoostRegressor"
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    lowered = lower(model_like(kind, name), frame)
    found = score(lowered, frame)
    wanted = SCORES[name]
    if name in CLASSES:
        np.testing.assert_allclose(found["probabilities"], wanted, rtol=2e-6, atol=2e-6)
        assert (found["label"].ravel() == wanted.argmax(axis=1)).all()
    else:
        np.testing.assert_allclose(found["value"].ravel(), wanted, rtol=2e-6, atol=2e-6)
    assert [list(lowered.thresholds[column]) for column in "abc"] == [
        sorted(borders) for borders in TOLD["borders"][name]
    ]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (model_like("CatBoostRegressor", "number", "categories"), "categorical features.*numbers alone"),
        (model_like("CatBoostRegressor", "three", "MultiRMSE"), "several numbers as a classifier"),
        (model_like("CatBoostClassifier", "three", "MultiClassOneVsAll"), "other probabilities than its own"),
    ],
)
def test_what_catboost_does_not_write_faithfully_is_refused(model: Any, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        lower(model, pd.DataFrame(ROWS, columns=["a", "b", "c"]))
