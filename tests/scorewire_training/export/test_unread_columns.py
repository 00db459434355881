"""Columns that a pipeline drops are not in the schema and do not stop the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scorewire_contract.bundle import read_bundle
from scorewire_training.cli.verify import verify
from scorewire_training.export import UnsupportedModelError, export_bundle
from tests.scored_bundles import score_rows

COUNT = 120
TEXTS = OneHotEncoder(handle_unknown="ignore")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=COUNT),
            "a": rng.normal(size=COUNT),
            "kind": pd.Series(rng.choice(["x", "y"], COUNT), dtype=object),
            "what": [{"any": "thing"}] * COUNT,
            "b": rng.normal(size=COUNT),
        }
    )


def target_of(frame: pd.DataFrame) -> Any:
    return (frame["a"] + (frame["kind"] == "x") > 0.3).astype(int)


def _names(path: Path) -> list[str]:
    """The features of the schema, after the command verified the bundle."""
    result = CliRunner().invoke(verify, [str(path)])
    assert result.exit_code == 0, result.output
    return [feature.name for feature in read_bundle(path).manifest.schema.features]


COLUMNS = {
    "rest dropped": make_column_transformer((StandardScaler(), ["a"]), (TEXTS, ["kind"])),
    "dropped by name": make_column_transformer(
        ("drop", ["when", "what", "b"]), (TEXTS, ["kind"]), remainder="passthrough"
    ),
    "chosen by dtype": make_column_transformer(
        (StandardScaler(), make_column_selector("^a$", dtype_include="number")),
        (TEXTS, make_column_selector("kind", dtype_include=object)),
    ),
}


@pytest.mark.parametrize("columns", list(COLUMNS))
def test_what_a_column_transformer_drops_is_no_feature(
    columns: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    model = make_pipeline(COLUMNS[columns], LogisticRegression()).fit(frame, target_of(frame))
    arguments: dict[str, Any] = {"name": "m", "output_dir": tmp_path}
    whole = export_bundle(model, sample=frame, version="1.0.0", **arguments)
    assert _names(whole.path) == ["a", "kind"]
    # Like the pipeline itself, the export accepts rows without the dropped columns.
    part = export_bundle(model, sample=frame[["a", "kind"]], version="1.1.0", **arguments)
    assert _names(part.path) == ["a", "kind"]
    scores = score_rows(part.path, frame)
    np.testing.assert_allclose(scores.outputs[0], model.predict_proba(frame), rtol=5e-6, atol=5e-6)


def test_what_a_column_transformer_reads_must_be_there_and_fit(frame: pd.DataFrame, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"name": "m", "version": "1.0.0", "output_dir": tmp_path}
    model = make_pipeline(COLUMNS["rest dropped"], LogisticRegression()).fit(frame, target_of(frame))
    with pytest.raises(UnsupportedModelError, match="the sample lacks 'a'"):
        export_bundle(model, sample=frame[["kind"]], **arguments)
    passed = make_column_transformer(("passthrough", ["a", "when"]))
    dated = make_pipeline(passed, xgboost.XGBClassifier(n_estimators=2)).fit(
        frame.assign(when=1.0), target_of(frame)
    )
    with pytest.raises(UnsupportedModelError, match="column 'when' is of type datetime64.*days since"):
        export_bundle(dated, sample=frame, **arguments)


def test_what_a_selection_leaves_out_is_no_feature(frame: pd.DataFrame, tmp_path: Path) -> None:
    numbers = frame[["b", "a"]].assign(c=frame["b"] ** 2)
    model = make_pipeline(SelectKBest(f_classif, k=1), xgboost.XGBClassifier(n_estimators=3, n_jobs=1))
    model.fit(numbers, target_of(frame))
    exported = export_bundle(model, sample=numbers, name="m", version="1.0.0", output_dir=tmp_path)
    assert _names(exported.path) == ["a"]
