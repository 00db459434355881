"""What the snippets of a page find: a trained model, its bundles, and tables."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xgboost import XGBClassifier

from examples.churn import COLUMNS, customers, fit
from scorewire_training import export_bundle
from tests.onnx_models import write_simple

VERSIONS = ("1.0.0", "1.1.0", "2.0.0-rc.1")


@dataclass(frozen=True, slots=True)
class World:
    """A folder with `models` and `files`, and names that every page knows.

    Attributes:
        folder: `models/churn` with three versions; `files` are copied to the folder of each page.
        names: `train`, a frame with `target`; `columns`, its features; `pipeline`, fitted on them.
    """

    folder: Path
    names: dict[str, Any]

    def copy_files(self, page_folder: Path) -> None:
        """Give a page the tables and files that it begins with."""
        shutil.copytree(self.folder / "files", page_folder, dirs_exist_ok=True)

    def add_models(self, models: Path) -> None:
        """Add the bundles that a page has not exported itself."""
        for bundle in (self.folder / "models" / "churn").iterdir():
            if not (models / "churn" / bundle.name).exists():
                shutil.copytree(bundle, models / "churn" / bundle.name)


def make_world(folder: Path) -> World:
    """Train the model once, export its versions, and write the tables."""
    train = customers(600)
    pipeline = fit(train)
    for version in VERSIONS:
        export_bundle(
            pipeline, sample=train[COLUMNS], name="churn", version=version, output_dir=folder / "models"
        )
    files = folder / "files"
    files.mkdir(parents=True)
    train[COLUMNS].to_csv(files / "rows.csv", index=False)
    train[COLUMNS].to_parquet(files / "rows.parquet", index=False)
    # A saved model without a pipeline takes numbers only.
    numbers = train[["age"]].assign(visits=np.arange(len(train)) % 7.0)
    numbers.to_csv(files / "train.csv", index=False)
    XGBClassifier(n_estimators=10, max_depth=3).fit(numbers, train["target"]).save_model(files / "churn.json")
    write_simple(files / "model.onnx")
    return World(folder, {"train": train, "columns": list(COLUMNS), "pipeline": pipeline})
