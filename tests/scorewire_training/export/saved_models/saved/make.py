"""Writes this folder's model files: `python make.py`, in an environment with one release of one library.

    python -m venv there && there/bin/pip install xgboost-cpu==2.1.4 "pandas<3" "scikit-learn<1.6"
    there/bin/python tests/scorewire_training/export/saved_models/saved/make.py

The files are named by library, release and kind; `<library>-<release>.json` has
the scores that the release itself gives for the rows of `rows.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
COUNT, SCORED = 300, 40
STORES = [10, 20, 30, 40]
COLOURS = ["red", "green", "blue"]
# Their characters and their bytes are not as many.
CITIES = ["Logroño", "北京", "😀 town", "Zürich", "plain"]
NUMBERS = ["size", "weight"]


def make_frame() -> pd.DataFrame:
    """The rows that all models are fitted on; the first are scored."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(COUNT, 2)).round(4), columns=NUMBERS)
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    for name, values in (("store", STORES), ("colour", COLOURS), ("city", CITIES)):
        codes = rng.integers(len(values), size=COUNT)
        codes[rng.random(COUNT) < 0.1] = -1
        frame[name] = pd.Categorical.from_codes(codes, categories=values)
    return frame


def _target(frame: pd.DataFrame) -> Any:
    """A number that every column has its part in."""
    known = frame[NUMBERS].fillna(0.3)
    codes = sum((frame[name].cat.codes + 1) % 3 for name in ("store", "colour", "city"))
    return (known["size"] * 2 - known["weight"] ** 2 + codes).to_numpy()


def _with_xgboost(frame: pd.DataFrame, save: Callable[[str, Any, Any], None]) -> None:
    import xgboost

    y, numbers = _target(frame), frame[NUMBERS]
    two, three = (y > 2).astype(int), np.digitize(y, [1.0, 3.0])
    plain = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1, "random_state": 0}
    category = {**plain, "enable_categorical": True, "tree_method": "hist", "max_cat_to_onehot": 2}

    dart = xgboost.XGBRegressor(booster="dart", rate_drop=0.5, **plain).fit(numbers, y)
    save("dart.json", dart, dart.predict(numbers[:SCORED]))
    dart = xgboost.XGBClassifier(booster="dart", rate_drop=0.5, **plain).fit(numbers, three)
    save("dart-three.ubj", dart, dart.predict_proba(numbers[:SCORED]))
    forest = xgboost.XGBClassifier(**{**plain, "n_estimators": 2}, num_parallel_tree=4, subsample=0.7)
    forest.fit(numbers, two)
    save("forest.ubj", forest, forest.predict_proba(numbers[:SCORED]))
    stopped = xgboost.XGBClassifier(
        **{**plain, "n_estimators": 9, "max_depth": 2, "learning_rate": 1.5},
        num_parallel_tree=2,
        subsample=0.5,
        early_stopping_rounds=1,
    )
    stopped.fit(numbers[:200], three[:200], eval_set=[(numbers[200:], three[200:])], verbose=False)
    if stopped.best_iteration + 1 == stopped.get_booster().num_boosted_rounds():
        raise SystemExit("the model did not stop early")
    save("stopped.ubj", stopped, stopped.predict_proba(numbers[:SCORED]))
    for kind, column in (("integers.json", "store"), ("texts.ubj", "colour"), ("names.json", "city")):
        rows = frame[[*NUMBERS, column]]
        model = xgboost.XGBRegressor(**category).fit(rows, y)
        save(kind, model, model.predict(rows[:SCORED]))
    rows = frame[["city", "store", "size"]]
    settings = {"tree_method": "hist", "max_depth": 3, "max_cat_to_onehot": 2, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, y, enable_categorical=True), 6)
    save("booster.ubj", booster, booster.predict(xgboost.DMatrix(rows[:SCORED], enable_categorical=True)))


def _with_lightgbm(frame: pd.DataFrame, save: Callable[[str, Any, Any], None]) -> None:
    import lightgbm

    y = _target(frame)
    settings = {"verbose": -1, "num_leaves": 7, "num_threads": 1, "min_data_per_group": 5, "seed": 0}
    for kind, columns, label, extra in (
        ("number.txt", NUMBERS, y, {}),
        ("dart.txt", NUMBERS, y, {"boosting": "dart", "drop_rate": 0.5}),
        ("forest.txt", NUMBERS, y, {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
        ("three.txt", NUMBERS, np.digitize(y, [1.0, 3.0]), {"objective": "multiclass", "num_class": 3}),
        ("texts.txt", [*NUMBERS, "colour"], (y > 2).astype(int), {"objective": "binary"}),
        ("names.txt", ["city", *NUMBERS], y, {}),
        ("integers.txt", [*NUMBERS, "store"], y, {}),
        ("both.txt", ["store", *NUMBERS, "city"], y, {}),
    ):
        rows = frame[columns]
        model = lightgbm.train({**settings, **extra}, lightgbm.Dataset(rows, label), 6)
        save(kind, model, model.predict(rows[:SCORED]))


def main() -> None:
    """Fit and save with the library that is here."""
    frame = make_frame()
    frame[:SCORED].to_csv(HERE / "rows.csv", index=False, encoding="utf-8")
    try:
        import xgboost as library

        fit = _with_xgboost
    except ImportError:
        import lightgbm as library

        fit = _with_lightgbm
    stem = f"{library.__name__}-{library.__version__}"
    scores = {}

    def save(kind: str, model: Any, answers: Any) -> None:
        model.save_model(HERE / f"{stem}-{kind}")
        scores[f"{stem}-{kind}"] = np.asarray(answers, np.float64).tolist()

    fit(frame, save)
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(answers)}" for name, answers in scores.items())
    (HERE / f"{stem}.json").write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
