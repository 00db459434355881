"""Model files of many releases are exported and score as their own release scored them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorewire_training.export import ExportError, export_bundle
from scorewire_training.export.saved_models.model_file import read_model
from scorewire_training.export.saved_models.sample_file import read_sample
from scorewire_training.releases import XGBOOST_RELEASE
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.saved_models.saved.make import CITIES, COLOURS, STORES

SAVED = Path(__file__).parent / "saved"
SCORES: dict[str, Any] = {
    name: scores
    for path in sorted(SAVED.glob("*.json"))
    if path.stem.count("-") == 1
    for name, scores in json.loads(path.read_text(encoding="utf-8")).items()
}
CATEGORIES: dict[str, list[Any]] = {"store": STORES, "colour": COLOURS, "city": CITIES}
KINDS = {
    "integers": ["store"],
    "texts": ["colour"],
    "names": ["city"],
    "both": ["store", "city"],
    "booster": ["city", "store"],
}


def _release(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("-")[1].split(".")[:2])


def _given(name: str) -> dict[str, list[Any]]:
    """The categories that the file lacks: XGBoost before 3.1 stores none, before 3.4 cuts names off."""
    kind = name.split("-", 2)[2].split(".", maxsplit=1)[0]
    told = name.startswith("lightgbm") or _release(name) >= (3, 4)
    return {} if told else {column: CATEGORIES[column] for column in KINDS.get(kind, [])}


def _refusal(name: str) -> str:
    """Why the installed XGBoost cannot read the file; "" if it can."""
    if name.startswith("lightgbm"):
        return ""
    if _release(name) > XGBOOST_RELEASE:
        return f"was saved by XGBoost {'.'.join(map(str, _release(name)))}.*may misread"
    cut = (3, 1) <= _release(name) < (3, 4) and name.endswith(("names.json", "booster.ubj"))
    if cut and XGBOOST_RELEASE >= (3, 4):
        return "has cut the categories of 'city'.*where the release is installed"
    return ""


def _export(name: str, folder: Path) -> Path:
    model = read_model(SAVED / name)
    sample = read_sample(SAVED / "rows.csv", model, categories=_given(name))
    return export_bundle(model, sample=sample.frame, name="saved", version="1.0.0", output_dir=folder).path


def _score(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The scores of rows for a caller who sends the cells of the file."""
    scores = score_rows(path, pd.read_csv(SAVED / "rows.csv"))
    assert scores.errors == []
    return np.asarray(scores.outputs[0], np.float64)


def test_files_of_every_release_are_here() -> None:
    releases = {"-".join(name.split("-")[:2]) for name in SCORES}
    assert len(releases) >= 8
    assert {path.name for path in SAVED.iterdir() if path.suffix in {".ubj", ".txt"}} <= SCORES.keys()


@pytest.mark.parametrize("name", SCORES)
def test_a_saved_model_scores_as_its_own_release_did(name: str, tmp_path: Path) -> None:
    if refusal := _refusal(name):
        with pytest.raises(ExportError, match=refusal):
            _export(name, tmp_path)
        return
    path = _export(name, tmp_path)
    wanted, found = np.array(SCORES[name]), _score(path)
    if wanted.ndim == 1 and found.shape[1] == 2:  # a Booster of two classes
        found = found[:, 1]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=2e-6, atol=1e-6)
