"""The export of a family, and a check of the bundle that does not rely on the parity gate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_outlier_detector

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export import UnsupportedModelError, export_bundle
from tests.families.data import NUMBERS, Data
from tests.families.fits import Fit
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.lowering.scored import label_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of model: `fit(frame, target, size)` returns a fitted model with about `size` trees.

    `prepare` makes the frame that the model takes from all columns. `refused` is a part
    of the reason if export must refuse the model.
    """

    name: str
    fit: Fit
    target: str = "value"
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame[NUMBERS]
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of the export of a family.

    `differing` is the number of sample rows that the bundle on disk scores differently
    from the model, compared here and not by the parity gate. `links` are the links of the
    explained outputs, and `unexplained` the reasons why others are not explained.
    """

    exported: bool
    rows: int = 0
    differing: int = 0
    worst_share: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    links: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()


def run(family: Family, data: Data, output_dir: Path, size: int) -> Outcome:
    """Fit a family on the data and export it.

    Raises:
        ParityError: the bundle would differ from the model.
    """
    frame = family.prepare(data.frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small fits do not converge; that is not at stake
        model = family.fit(frame, data.targets[family.target], size)
    begin = time.perf_counter()
    try:
        exported = export_bundle(model, sample=frame, name="family", version="1.0.0", output_dir=output_dir)
    except UnsupportedModelError as error:
        return Outcome(exported=False, reason=str(error))
    return Outcome(
        exported=True,
        rows=exported.parity.rows_compared,
        differing=_count_differing(model, frame, exported.path),
        worst_share=exported.parity.worst_share_of_tolerance,
        seconds=time.perf_counter() - begin,
        links=tuple(dict.fromkeys(output.link for output in exported.explanation.outputs)),
        unexplained=tuple(dict.fromkeys(each.reason for each in exported.explanation.unexplained)),
    )


def _count_differing(model: Any, frame: pd.DataFrame, path: Path) -> int:
    scores = score_rows(path, frame)
    schema = read_bundle(path).manifest.schema
    found = {output.name: values for output, values in zip(schema.outputs, scores.outputs, strict=True)}
    return int((~_agreement(model, frame, found, schema)).sum())


def _agreement(
    model: Any, frame: pd.DataFrame, found: dict[str, NDArray[Any]], schema: schema_pb2.Schema
) -> NDArray[np.bool_]:
    """For each row, whether the outputs are those of the model itself."""
    if "label_0" in found:
        answers = label_answers(model, frame, np.asarray(model.predict(frame)))
        assert found.keys() == answers.keys()
        same = [
            (found[name] == wanted).all(axis=1) if name.startswith("label") else _close(found[name], wanted)
            for name, wanted in answers.items()
        ]
        return np.all(same, axis=0)
    if isinstance(model, xgboost.Booster):
        wanted = model.predict(xgboost.DMatrix(frame))
    elif "probabilities" in found and not isinstance(model, lightgbm.Booster):
        wanted = model.predict_proba(frame)
    elif isinstance(model, BaseEstimator) and is_outlier_detector(model):
        wanted = model.decision_function(frame)
    else:
        wanted = (model.predict if hasattr(model, "predict") else model.transform)(frame)
    wanted = np.asarray(wanted.toarray() if hasattr(wanted, "toarray") else wanted)
    if "value" in found:
        got = found["value"]
    elif wanted.ndim == 2:
        got = found["probabilities"]
    elif len(schema.outputs[-1].class_labels) == 2 and "probabilities" in found:
        got = found["probabilities"][:, 1]
    elif wanted.dtype.kind == "f":
        got = found["label"]  # a booster answers the class's number
    else:
        labels = np.array(schema.outputs[-1].class_labels)
        return np.asarray(labels[found["label"].ravel().astype(np.intp)] == wanted.astype(str))
    wanted = wanted.astype(np.float64).reshape(len(frame), -1)
    return _close(got.reshape(wanted.shape), wanted)


def _close(found: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """For each row, whether all numbers are close."""
    close = np.isclose(found, wanted, rtol=5e-6, atol=5e-6 * wanted.std())
    return np.asarray(close.all(axis=1))
