"""Training writes a bundle, the server loads it, and the scores are the fitted model's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.reference.session import open_session
from scorewire_server.loader import load
from scorewire_server.repository import scan
from tests.families import FAMILIES, make_data, run

# One of every way from text and numbers to the graph.
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
    (candidate,) = scan(tmp_path)
    record = load(candidate, partial(open_session, threads=1))
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
