"""Writes the ONNX files of this folder, and the scores that CatBoost gives: `python make.py`.

Run it where catboost is installed; it is too large to be one of our dependencies.
"""

from __future__ import annotations

import json
from pathlib import Path

import catboost
import numpy as np

FOLDER = Path(__file__).parent
SETTINGS = {"iterations": 8, "depth": 3, "random_seed": 0, "verbose": 0, "allow_writing_files": False}
LARGEST = float(np.finfo(np.float32).max)


def main() -> None:
    """Fit models, save them, and score rows beside every border."""
    rng = np.random.default_rng(0)
    table = np.round(rng.normal(size=(200, 3)), 3)
    table[rng.random(table.shape) < 0.1] = np.nan
    value = np.nan_to_num(table[:, 0]) * 2 + np.nan_to_num(table[:, 1]) ** 2
    models = {
        "number": catboost.CatBoostRegressor(**SETTINGS).fit(table, value),
        "count": catboost.CatBoostRegressor(**SETTINGS, loss_function="Poisson").fit(
            table, np.round(value**2)
        ),
        "two": catboost.CatBoostClassifier(**SETTINGS).fit(table, np.where(value > 1, "yes", "no")),
        "three": catboost.CatBoostClassifier(**SETTINGS).fit(table, np.digitize(value, [0.0, 2.0])),
    }
    rows = [*table[:20].tolist(), *([number] * 3 for number in (0.0, np.nan, np.inf, -np.inf, 1e30, LARGEST))]
    for model in models.values():
        for feature, borders in model.get_borders().items():
            for border in borders[:6]:
                for number in (border, np.nextafter(np.float32(border), np.float32(9))):
                    row = table[len(rows) % len(table)].tolist()
                    row[feature] = float(number)
                    rows.append(row)
    told = {"catboost": catboost.__version__, "rows": np.array(rows).tolist(), "scores": {}, "borders": {}}
    for name, model in models.items():
        model.save_model(str(FOLDER / f"{name}.onnx"), format="onnx")
        score = model.predict_proba if isinstance(model, catboost.CatBoostClassifier) else model.predict
        told["scores"][name] = np.asarray(score(np.array(rows))).tolist()
        told["borders"][name] = [model.get_borders()[feature] for feature in range(3)]
    (FOLDER / "scores.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
