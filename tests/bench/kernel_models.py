"""The models that the kernel is measured on: trained once, and kept in a folder."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from scorewire_contract.bundle import GRAPH
from scorewire_training import export_bundle
from scorewire_training.export.graph import ELEMENT_TYPES, Graph
from scorewire_training.export.trees import read_trees
from scorewire_training.export.trees.emit import emit_margin
from scorewire_training.export.trees.ensemble import Ensemble

FEATURES = 30
MISSING_SHARE = 0.15
# What is scored: the rows differ from call to call.
SCORED_ROWS = 8_192
_DISTRIBUTIONS = {"XGBoost": "xgboost-cpu", "LightGBM": "lightgbm", "scikit-learn": "scikit-learn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model to train: `size` is the depth of XGBoost's trees, or the leaves of LightGBM's.

    `once` and `batch` are how many times faster than onnxruntime the kernel should be for one row and for
    1,000, and `against_library` how many times faster than the library for 1,000.
    """

    name: str
    library: str
    trees: int
    size: int
    train_rows: int
    once: float
    batch: float
    against_library: float | None


KINDS = [
    Kind(name=name, library=library, trees=trees, size=size, train_rows=rows, once=once, batch=batch,
         against_library=bound)
    for name, library, trees, size, rows, once, batch, bound in (
        ("XGBoost 100x6", "XGBoost", 100, 6, 20_000, 35, 40, 20),
        ("XGBoost 500x8", "XGBoost", 500, 8, 60_000, 25, 40, 20),
        ("XGBoost 1000x6", "XGBoost", 1000, 6, 60_000, 40, 100, 20),
        ("LightGBM 500x31", "LightGBM", 500, 31, 60_000, 20, 50, 50),
        ("LightGBM 500x127", "LightGBM", 500, 127, 60_000, 7, 30, 50),
        ("forest of 300", "scikit-learn", 300, 0, 15_000, 9, 10, None),
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trained:
    """The files of a trained model: the library's, the bundle's graph, and a graph of its trees only."""

    kind: Kind
    model: Path
    bundle: Path
    margin: Path


def small(kind: Kind) -> Kind:
    """A model for a smoke test."""
    return replace(kind, trees=max(kind.trees // 20, 2), train_rows=1_000)


def train(kind: Kind, folder: Path, tell: Callable[[str], None]) -> Trained:
    """Train and export a model, unless the folder has it."""
    release = version(_DISTRIBUTIONS[kind.library])
    name = f"{kind.name} {kind.trees} {kind.train_rows} {release}".lower().replace(" ", "-").replace(".", "-")
    place = folder / name
    suffix = {"XGBoost": "ubj", "LightGBM": "txt", "scikit-learn": "pickle"}[kind.library]
    bundle = place / "bundle" / "1.0.0" / GRAPH
    trained = Trained(kind, place / f"model.{suffix}", bundle, place / "margin.onnx")
    if trained.margin.exists():
        return trained
    tell(f"{kind.name}: training")
    begin = time.monotonic()
    rows = make_rows(kind.train_rows, seed=11)
    labels = _labels(rows)
    fitted = _fit(kind, rows, labels)
    place.mkdir(parents=True, exist_ok=True)
    _save(fitted, trained.model)
    if not bundle.exists():
        tell(f"{kind.name}: exporting, after {time.monotonic() - begin:.0f} s")
        sample = _frame(rows[:2_000])
        export_bundle(fitted, sample=sample, name="bundle", version="1.0.0", output_dir=place)
    # The last file: with it, all are there.
    _write_margin(fitted, trained.margin)
    tell(f"{kind.name}: trained and exported in {time.monotonic() - begin:.0f} s")
    return trained


def make_rows(count: int, *, seed: int) -> NDArray[np.float64]:
    """Rows of numbers that are floats, too: with missing values, steps, and a wide range."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, FEATURES))
    rows[:, 5] = np.round(rows[:, 5] * 3)
    rows[:, 6] = np.round(rows[:, 6])
    rows[:, 7] = np.exp(rows[:, 7] * 3)
    rows = rows.astype(np.float32).astype(np.float64)
    rows[draw.random(rows.shape) < MISSING_SHARE] = np.nan
    return rows


def write_empty(path: Path) -> None:
    """A graph with the input of the trees that does nothing: what a run of onnxruntime costs by itself."""
    graph = Graph()
    x = graph.input("x", ELEMENT_TYPES["float32"], FEATURES)
    graph.output("same", graph.node("Identity", [x]), ELEMENT_TYPES["float32"], FEATURES)
    onnx.save(graph.build("empty"), path)


def _labels(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    draw = np.random.default_rng(12)
    known = np.nan_to_num(rows)
    known[:, 7] = np.log(np.maximum(known[:, 7], 1e-9))
    noise = draw.normal(scale=4.0, size=len(rows))
    score = known @ draw.normal(size=FEATURES) + 2 * known[:, 0] * known[:, 1] + 2 * np.sin(known[:, 2] * 2)
    labels: NDArray[np.int64] = (score + noise > 0).astype(np.int64)
    return labels


def _frame(rows: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"x{i}" for i in range(FEATURES)])


def _fit(kind: Kind, rows: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
    if kind.library == "XGBoost":
        model: Any = xgboost.XGBClassifier(
            n_estimators=kind.trees, max_depth=kind.size, n_jobs=1, min_child_weight=0, learning_rate=0.1
        )
    elif kind.library == "LightGBM":
        model = lightgbm.LGBMClassifier(
            n_estimators=kind.trees, num_leaves=kind.size, n_jobs=1, learning_rate=0.05, verbose=-1,
            min_child_samples=5,
        )  # fmt: skip
    else:
        model = RandomForestClassifier(n_estimators=kind.trees, n_jobs=1, random_state=1)
    return model.fit(_frame(rows), labels)


def _save(fitted: Any, path: Path) -> None:
    if isinstance(fitted, xgboost.XGBClassifier):
        fitted.get_booster().save_model(path)
    elif isinstance(fitted, lightgbm.LGBMClassifier):
        fitted.booster_.save_model(path)
    else:
        path.write_bytes(pickle.dumps(fitted))


def _write_margin(fitted: Any, path: Path) -> None:
    read = read_trees(fitted)
    assert read is not None
    assert isinstance(read.ensemble, Ensemble)
    # The sums alone, also of a forest, whose output is their mean.
    ensemble = replace(read.ensemble, divisor=1.0)
    graph = Graph()
    x = graph.input("x", ELEMENT_TYPES[read.input_type], FEATURES)
    margin = emit_margin(graph, ensemble, x, read.input_type, FEATURES)
    graph.output("margin", margin, ELEMENT_TYPES[ensemble.element_type], ensemble.target_count)
    onnx.save(graph.build("margin"), path)
