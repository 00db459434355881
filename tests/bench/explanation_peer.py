"""Measures the contributions of a library, for the bench `explanations`.

A script of its own, because other releases are installed in environments of their own, which the project
has not: `python explanation_peer.py MODEL ROWS FEATURES SECONDS`. For each line with a number of rows that it
reads, it prints a line of JSON with microseconds of processor time a row. It uses one thread. XGBoost's
matrix of many rows is made before, that of one row is a part of the call.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# No round has more calls: their matrices are made before.
MOST_CALLS = 64
Explain = Callable[[Any], Any]


def xgboost(model: Path) -> tuple[str, Callable[[Any], Any], Explain]:
    import xgboost as library

    booster = library.Booster(model_file=str(model))
    booster.set_param({"nthread": 1})

    def matrix(rows: Any) -> Any:
        return library.DMatrix(rows, nthread=1, feature_names=booster.feature_names)

    return library.__version__, matrix, lambda rows: booster.predict(rows, pred_contribs=True)


def lightgbm(model: Path) -> tuple[str, Callable[[Any], Any], Explain]:
    import lightgbm as library

    booster = library.Booster(model_file=str(model))
    return (
        library.__version__,
        lambda rows: rows,
        lambda rows: booster.predict(rows, pred_contrib=True, num_threads=1),
    )


def main(model: Path, rows: Any, seconds: float) -> None:
    release, prepare, explain = (xgboost if model.suffix == ".ubj" else lightgbm)(model)
    print(json.dumps({"release": release}), flush=True)
    at = 0
    for line in sys.stdin:
        count = int(line)
        blocks = []
        for _ in range(MOST_CALLS if count == 1 else 2):
            at = at + count if at + 2 * count <= len(rows) else 0
            blocks.append(rows[at : at + count] if count == 1 else prepare(rows[at : at + count]))
        calls, begin = 0, time.process_time()
        while calls < len(blocks) and (not calls or time.process_time() - begin < seconds):
            block = blocks[calls]
            explain(prepare(block) if count == 1 else block)
            calls += 1
        us = (time.process_time() - begin) * 1e6 / (calls * count)
        print(json.dumps({"us_per_row": us}), flush=True)


if __name__ == "__main__":
    _model, _rows, _features, _seconds = sys.argv[1:]
    main(Path(_model), np.fromfile(_rows, "<f8").reshape(-1, int(_features)), float(_seconds))
