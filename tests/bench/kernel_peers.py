"""Measures another library on a model, and prints JSON: nanoseconds of processor time a row, by round.

A script of its own, because its libraries are installed in an environment of their own, which the project has
not: `python kernel_peers.py PEER MODEL ROWS FEATURES ROUNDS SECONDS FOLDER`. It uses one thread, and prints
why where the library does not take the model.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CALL_ROWS = 1_000
Predict = Callable[[Any], object]


def treelite(model: Path, blocks: list[Any], folder: Path) -> tuple[Predict, list[Any]]:
    import treelite as library

    read = _treelite_model(model)
    if model.suffix == ".ubj":
        blocks = [block.astype(np.float32) for block in blocks]
    return lambda block: library.gtil.predict(read, block, nthread=1, pred_margin=True), blocks


def tl2cgen(model: Path, blocks: list[Any], folder: Path) -> tuple[Predict, list[Any]]:
    import tl2cgen as library

    built = folder / "tl2cgen.so"
    if not built.exists():
        options = {"parallel_comp": 32}
        library.export_lib(_treelite_model(model), toolchain="gcc", libpath=str(built), params=options)
    predictor = library.Predictor(str(built), nthread=1)
    dtype = "float32" if model.suffix == ".ubj" else "float64"
    matrices = [library.DMatrix(block.astype(dtype), dtype=dtype) for block in blocks]
    return lambda matrix: predictor.predict(matrix, pred_margin=True), matrices


def lleaves(model: Path, blocks: list[Any], folder: Path) -> tuple[Predict, list[Any]]:
    import lleaves as library

    if model.suffix != ".txt":
        raise ValueError("it takes only LightGBM's models")
    read = library.Model(model_file=str(model))
    read.compile(cache=str(folder / "lleaves.o"), raw_score=True)
    return lambda block: read.predict(block, n_jobs=1), blocks


def onedal(model: Path, blocks: list[Any], folder: Path) -> tuple[Predict, list[Any]]:
    import daal4py

    daal4py.daalinit(1)
    if model.suffix == ".ubj":
        import xgboost

        booster: Any = xgboost.Booster(model_file=model)
    elif model.suffix == ".txt":
        import lightgbm

        booster = lightgbm.Booster(model_file=model)
    else:
        raise ValueError("it takes no forest of scikit-learn's")
    read = daal4py.mb.convert_model(booster)
    return read.predict_proba, blocks


def scikit_learn(model: Path, blocks: list[Any], folder: Path) -> tuple[Predict, list[Any]]:
    fitted = _unpickled(model)
    blocks = [block.astype(np.float32) for block in blocks]
    return fitted.predict_proba, blocks


PEERS = {
    "treelite": treelite,
    "tl2cgen": tl2cgen,
    "lleaves": lleaves,
    "oneDAL": onedal,
    "scikit-learn": scikit_learn,
}


def _treelite_model(model: Path) -> Any:
    import treelite

    if model.suffix == ".ubj":
        return treelite.frontend.load_xgboost_model(str(model), format_choice="ubjson")
    if model.suffix == ".txt":
        return treelite.frontend.load_lightgbm_model(str(model))
    return treelite.sklearn.import_model(_unpickled(model))


def _unpickled(model: Path) -> Any:
    fitted = pickle.loads(model.read_bytes())  # noqa: S301  # the bench wrote the file
    # It was fitted to a frame; the names of the columns would be looked for in each call.
    del fitted.feature_names_in_
    return fitted


def main(arguments: list[str]) -> None:
    peer, model, rows, features, rounds, seconds, folder = arguments
    table = np.fromfile(rows, "<f8").reshape(-1, int(features))
    whole = len(table) // CALL_ROWS * CALL_ROWS
    blocks = [np.ascontiguousarray(table[i : i + CALL_ROWS]) for i in range(0, whole, CALL_ROWS)]
    try:
        predict, blocks = PEERS[peer](Path(model), blocks, Path(folder))
        predict(blocks[0])
    except ImportError:
        print(json.dumps({"missing": "not installed"}))
        return
    except Exception as error:  # each library has errors of its own
        print(json.dumps({"missing": f"{type(error).__name__}: {error}".splitlines()[0][:200]}))
        return
    times = []
    call = 0
    for _ in range(int(rounds)):
        # Of all threads of this process.
        begin, done = time.process_time(), 0
        while not done or time.process_time() - begin < float(seconds):
            predict(blocks[call % len(blocks)])
            call, done = call + 1, done + 1
        times.append((time.process_time() - begin) * 1e9 / (done * CALL_ROWS))
    print(json.dumps({"ns_per_row": times}))


if __name__ == "__main__":
    main(sys.argv[1:])
