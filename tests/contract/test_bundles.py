"""Training writes a bundle, the server loads it, and its scores are those of the fitted model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost

from scorewire_contract.bundle import GOLDEN, GRAPH, read_bundle, to_json, write_bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.repository import scan
from scorewire_server.engine.reference.session import open_session
from scorewire_server.loading.loader import load
from scorewire_training.export import Tolerance, export_bundle, export_onnx
from tests.families import FAMILIES, make_data, run
from tests.onnx_models import write_reshaped

# A model for each way of coding texts and numbers.
NAMES = (
    "XGBoost categories, partition",
    "LightGBM Booster multiclass",
    "HistGradientBoosting gamma",
    "one-hot, strict, LightGBM",
    "folded frequency, XGBoost tweedie",
    "logistic regression",
    "tf-idf of words, logistic regression",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_serves_what_training_exports(name: str, tmp_path: Path) -> None:
    (family,) = (family for family in FAMILIES if family.name == name)
    outcome = run(family, make_data(300), tmp_path, size=4)
    assert outcome.exported
    (folder,) = scan(tmp_path)
    record = load(folder, partial(open_session, threads=1))
    assert record.reason == ""
    assert record.state == models_pb2.VERSION_STATE_SERVING
    assert record.loaded is not None

    bundle = read_bundle(tmp_path / "family" / "1.0.0")
    rows, expected = bundle.golden.rows, bundle.golden.expected
    scores = record.loaded.scorer.score(rows.row_count, np.array(rows.numbers), list(rows.texts))
    assert [error.row for error in scores.errors] == [error.row for error in expected.errors]
    for output, found in zip(expected.outputs, scores.outputs, strict=True):
        wanted = np.array(output.numbers).reshape(found.shape)
        tolerance = bundle.golden.tolerance
        np.testing.assert_allclose(found, wanted, rtol=tolerance.relative, atol=tolerance.absolute)


@pytest.mark.parametrize("count", [1, 20])
def test_the_server_serves_a_graph_that_runs_on_one_row_only(count: int, tmp_path: Path) -> None:
    sample = {"x": np.arange(2.0 * count).reshape(count, 2)}
    path = write_reshaped(tmp_path / "one.onnx", [1, -1])
    export_onnx(path, name="m", version="1.0.0", output_dir=tmp_path / "models", sample=sample)
    (folder,) = scan(tmp_path / "models")
    record = load(folder, partial(open_session, threads=1))
    assert record.reason == ""
    assert record.loaded is not None
    assert record.loaded.max_shared_rows == 1


def test_the_server_holds_a_bundle_to_the_tolerance_that_it_was_exported_with(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(40.0)})
    model = xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(frame, frame["a"])
    path = export_bundle(
        model,
        sample=frame,
        name="m",
        version="1.0.0",
        output_dir=tmp_path / "exported",
        tolerance=Tolerance(2e-5),
    ).path
    for version, off in (("1.0.0", 1 + 1.9e-5), ("1.1.0", 1 + 1e-3)):
        bundle = read_bundle(path)
        bundle.manifest.version = version
        numbers = bundle.golden.expected.outputs[0].numbers
        numbers[:] = [number * off for number in numbers]
        files = {GRAPH: bundle.graph, GOLDEN: to_json(bundle.golden)}
        write_bundle(tmp_path / "models", bundle.manifest, files)
    reasons = [load(folder, partial(open_session, threads=1)).reason for folder in scan(tmp_path / "models")]
    assert reasons[0] == ""
    assert "the fitted model gave" in reasons[1]


def test_the_server_serves_an_old_bundle_that_has_the_features_of_customers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(40.0)})
    model = xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(frame, frame["a"])
    files = {"features.parquet": b"PAR1"}
    export_bundle(model, sample=frame, name="m", version="1.0.0", output_dir=tmp_path, files=files)
    (folder,) = scan(tmp_path)
    assert "features.parquet" in [file.name for file in read_bundle(folder.path).manifest.files]
    assert load(folder, partial(open_session, threads=1)).reason == ""
