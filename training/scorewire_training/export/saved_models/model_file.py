"""Reads the model files of XGBoost and LightGBM; their content shows which library wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeAlias

import lightgbm
import xgboost

from scorewire_training.export.errors import ExportError
from scorewire_training.export.trees.xgboost_missing import with_missing
from scorewire_training.releases import XGBOOST_RELEASE

SavedModel: TypeAlias = "xgboost.Booster | xgboost.XGBModel | lightgbm.Booster"


_ESTIMATORS = {
    "classifier": xgboost.XGBClassifier,
    "regressor": xgboost.XGBRegressor,
    "ranker": xgboost.XGBRanker,
}


# The last key of the files that XGBoost saves, in JSON and in UBJSON.
_VERSION = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]')


_BINARY_VERSION = re.compile(rb"\x07version\[#L\0{7}\x03i(.)i(.)i.", re.DOTALL)


_FROM_PYTHON = "export it from Python with scorewire_training.export_bundle(model, sample=...)"


_SAVE_AS = (
    "save an XGBoost model by save_model('model.json') or ('model.ubj'), a LightGBM model by "
    "booster.save_model('model.txt')"
)


def read_model(path: Path, *, missing: float | None = None) -> SavedModel:
    """Read a model that XGBoost (JSON, UBJSON) or LightGBM (text) saved, recognized by its content.

    A file of XGBoost's scikit-learn interface is read as its estimator, so that early
    stopping has the same effect as there.

    Args:
        path: the file.
        missing: for XGBoost, the number that meant missing in training in addition to NaN.

    Raises:
        ExportError: the file cannot be read, is damaged or of another format, was saved
            by a newer XGBoost, or `missing` is given for LightGBM.
    """
    model = _read_model(path)
    if missing is None:
        return model
    if isinstance(model, xgboost.XGBModel):
        # The file does not store it, like everything about the data.
        return model.set_params(missing=missing)
    wrapped: SavedModel = with_missing(model, missing)
    return wrapped


def _read_model(path: Path) -> SavedModel:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith((b"tree\n", b"tree\r\n")):
        if b"\nend of trees" not in content:
            # LightGBM aborts the process on some of these files.
            raise ExportError(f"{path} is damaged, its end is missing: save or copy it anew")
        try:
            return lightgbm.Booster(model_str=content.decode("utf-8"))
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise ExportError(f"{path} is damaged, LightGBM does not read it: {error}") from None
    if content.startswith(b"CBM1") or b'"oblivious_trees"' in content:
        raise ExportError(
            f"{path} is a model of CatBoost's: {_FROM_PYTHON}, or save it by save_model('model.onnx',"
            " format='onnx') and export that with --onnx"
        )
    if content.lstrip()[:1] == b"{":
        return _read_xgboost(path, content)
    if content.startswith((b"\x80", b"PK\x03\x04", b"x\x9c")):
        raise ExportError(
            f"{path} looks like a pickle or an archive, and those are not opened: {_FROM_PYTHON}"
        )
    raise ExportError(f"{path} is neither an XGBoost nor a LightGBM model: {_SAVE_AS}")


def _read_xgboost(path: Path, content: bytes) -> xgboost.Booster | xgboost.XGBModel:
    saved = _release_that_saved(content)
    if saved > XGBOOST_RELEASE:
        # It would read some of these files and score them wrong: DART, several base scores.
        raise ExportError(
            f"{path} was saved by XGBoost {'.'.join(map(str, saved))}, which XGBoost {xgboost.__version__}, "
            "installed here, may misread: install the release that saved it, or a newer one"
        )
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        reason = str(error).splitlines()[0]
        raise ExportError(f"{path} is not what XGBoost saves ({reason}): {_SAVE_AS}") from None
    interface = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
    if interface not in _ESTIMATORS:
        return booster
    estimator = _ESTIMATORS[interface]()
    estimator.load_model(bytearray(content))
    return estimator


def _release_that_saved(content: bytes) -> tuple[int, ...]:
    """Major and minor version of the XGBoost that saved a file; () where the file does not store it."""
    if found := _VERSION.findall(content):
        return tuple(int(number) for number in found[-1])
    if found := _BINARY_VERSION.findall(content):
        return tuple(number[0] for number in found[-1])
    return ()
