"""Rows are explained before the bundle is written as they are with the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

from scorewire_training.export import ExportError, export_bundle
from scorewire_training.export.explanation import FrameExplainer, FrameExplanation, UnexplainedError
from tests.scorewire_training.export.explanation.explained import explain_rows

_RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"age": _RNG.normal(40, 9, 200), "country": _RNG.choice(["pe", "de", "us"], 200)})
LABELS = (FRAME["age"] + 9 * (FRAME["country"] == "pe") > 43).astype(int)
EXPLAINED = FRAME.head(7)


def export(
    model: Any, folder: Path, explain: Callable[[FrameExplainer], FrameExplanation]
) -> tuple[Any, Any]:
    """The path of a bundle, and what `explain` found before it was written."""
    found = []

    def make_files(explainer: FrameExplainer) -> dict[str, bytes]:
        found.append(explain(explainer))
        return {"why.txt": b"as found"}

    encoder = make_column_transformer((OneHotEncoder(), ["country"]), remainder="passthrough")
    pipeline = make_pipeline(encoder, model).fit(FRAME, LABELS)
    exported = export_bundle(
        pipeline, sample=FRAME, name="m", version="1.0.0", output_dir=folder, files=make_files
    )
    return exported.path, found[0]


@pytest.mark.parametrize(
    "model",
    [XGBClassifier(n_estimators=9, max_depth=3), LogisticRegression(max_iter=5_000)],
    ids=["trees", "linear"],
)
def test_rows_of_a_frame_are_explained_as_with_the_bundle(model: Any, tmp_path: Path) -> None:
    path, found = export(model, tmp_path, lambda explainer: explainer.explain(EXPLAINED))
    ((output, expected),) = explain_rows(path, EXPLAINED).items()
    assert (found.output, found.link) == (output, "sigmoid")
    assert found.features == ("age", "country")
    for own, other in zip(
        (found.base, found.margins, found.values),
        (expected.base, expected.margins, expected.values),
        strict=True,
    ):
        np.testing.assert_array_equal(own, other)
    chances = found.to_output(found.margins)
    np.testing.assert_allclose(chances[:, 1], 1 / (1 + np.exp(-found.margins[:, 0])))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert (path / "why.txt").read_bytes() == b"as found"


def test_a_model_without_an_explanation_gives_the_reason_and_is_exported(tmp_path: Path) -> None:
    def explain(explainer: FrameExplainer) -> Any:
        with pytest.raises(UnexplainedError, match="neither a sum of trees nor linear"):
            explainer.explain(EXPLAINED)

    path, _ = export(KNeighborsClassifier(), tmp_path, explain)
    assert (path / "manifest.json").is_file()


def test_a_row_that_the_model_refuses_is_not_explained(tmp_path: Path) -> None:
    refused = EXPLAINED.assign(age=np.nan)
    with pytest.raises(ExportError, match="the schema does not allow it"):
        export(LogisticRegression(max_iter=5_000), tmp_path, lambda explainer: explainer.explain(refused))
    assert not (tmp_path / "m").exists()
