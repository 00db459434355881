"""Scores a frame with a lowered model, as an engine does, and with the fitted model."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_outlier_detector

from scorewire_contract.scoring import Scorer
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.lowering import LoweredModel, lower

NUMBERS = ["amount", "ratio", "big", "level"]
TEXTS = ["country", "platform"]
RELATIVE = 5e-6
ABSOLUTE = 1e-12


def step_name(step: object) -> str:
    """The step as text, without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(step))


def build_frame(rows: int = 400, seed: int = 7) -> pd.DataFrame:
    """Numbers with NaN, texts with a long tail, and integers beyond what float holds."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.normal(50.0, 20.0, rows),
            "ratio": rng.random(rows),
            "big": rng.integers(2**24, 2**26, rows).astype(np.float64),
            "level": rng.choice([1.0, 2.0, 5.0], rows),
            "country": rng.choice(["DE", "FR", "IT", "ES", ""], rows, p=[0.5, 0.3, 0.1, 0.05, 0.05]),
            "platform": rng.choice([" iOS", "ios", "Android", "WEB "], rows),
        }
    )
    frame[["country", "platform"]] = frame[["country", "platform"]].astype(object)
    return frame


def target(frame: pd.DataFrame) -> NDArray[np.float64]:
    """A target that is learnable but not trivial."""
    noise = np.random.default_rng(11).normal(size=len(frame))
    amount = frame["amount"].fillna(40.0).to_numpy(dtype=np.float64)
    return np.asarray(amount / 10.0 + (frame["country"] == "DE").to_numpy() * 2.0 + noise)


def classes(frame: pd.DataFrame, count: int = 2) -> NDArray[np.int64]:
    """The target in `count` classes of similar sizes."""
    values = target(frame)
    edges = np.quantile(values, np.linspace(0.0, 1.0, count + 1)[1:-1])
    return np.asarray(np.searchsorted(edges, values), dtype=np.int64)


def with_holes(frame: pd.DataFrame, share: float = 0.15, seed: int = 3) -> pd.DataFrame:
    """The frame with some of its numbers missing."""
    rng = np.random.default_rng(seed)
    holed = frame.copy()
    for name in holed.columns:
        if pd.api.types.is_float_dtype(holed[name]):
            holed.loc[rng.random(len(holed)) < share, name] = np.nan
    return holed


def hard_rows(frame: pd.DataFrame, *, holes: bool, unknown: bool = True) -> pd.DataFrame:
    """The frame, then rows with extreme numbers, unknown and missing texts."""
    parts = [frame]
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]):
            values: list[Any] = [0.0, -0.0, 1e30, -1e30, 2.0**24 + 1, 2.0**31 + 1, 0.1, -7.25]
            if holes:
                values.append(np.nan)
        elif unknown:
            values = ["", "Atlantis", " ios ", "IOS", "de"]
        else:
            continue
        rows = frame.iloc[: len(values)].copy()
        rows[name] = pd.Series(values, dtype=frame[name].dtype).to_numpy()
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def score(lowered: LoweredModel, frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """The outputs by name, each of shape [rows, width], computed with the row coding and the graph."""
    schema = schema_pb2.Schema()
    for name, kind in lowered.features:
        schema.features.add(
            name=name, kind=kind, missing_allowed=True, unknown_allowed=True, magnitude_limit=np.inf
        )
    for output in lowered.outputs:
        schema.outputs.add(
            name=output.name, kind=output.kind, width=output.width, class_labels=output.class_labels
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        lowered.graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    scorer = Scorer(schema, lowered.coding, session.run)
    numbers = [n for n, kind in lowered.features if kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [n for n, kind in lowered.features if kind == schema_pb2.FEATURE_KIND_TEXT]
    table = frame[numbers].astype(np.float64).to_numpy().reshape(-1)
    wire = ["" if pd.isna(text) else str(text) for row in frame[texts].to_numpy() for text in row]
    scores = scorer.score(len(frame), table, wire)
    assert not scores.errors
    return {output.name: values for output, values in zip(lowered.outputs, scores.outputs, strict=True)}


def fitted_answers(model: Any, frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """The fitted model's predictions, by the names of the outputs."""
    if not hasattr(model, "predict"):
        made = model.transform(frame)
        return {"value": made.toarray() if hasattr(made, "toarray") else np.asarray(made)}
    if is_outlier_detector(model):
        label = (np.asarray(model.predict(frame)) > 0).astype(np.float64)
        decision = np.asarray(model.decision_function(frame), dtype=np.float64)
        return {"value": decision.reshape(-1, 1), "label": label.reshape(-1, 1)}
    predicted = model.predict(frame)
    predicted = np.asarray(predicted.toarray() if hasattr(predicted, "toarray") else predicted)
    if not hasattr(model, "classes_"):
        name = "label" if hasattr(model, "fit_predict") else "value"
        shares = {"probabilities": model.predict_proba(frame)} if hasattr(model, "predict_proba") else {}
        return {**shares, name: predicted.astype(np.float64).reshape(len(frame), -1)}
    if predicted.ndim == 2:
        return label_answers(model, frame, predicted)
    places = {label: place for place, label in enumerate(model.classes_.tolist())}
    label = np.array([[places[value]] for value in predicted.tolist()], np.float64)
    if not hasattr(model, "predict_proba"):
        return {"label": label}
    return {"probabilities": np.asarray(model.predict_proba(frame), dtype=np.float64), "label": label}


def label_answers(model: Any, frame: pd.DataFrame, predicted: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """The predictions of a multilabel classifier whose classes are sorted as texts."""
    result: dict[str, NDArray[np.float64]] = {}
    shares = model.predict_proba(frame) if hasattr(model, "predict_proba") else None
    for i, label in enumerate(predicted.T):
        classes = np.unique(label)
        result[f"label_{i}"] = np.searchsorted(classes, label).astype(np.float64).reshape(-1, 1)
        if isinstance(shares, list):
            result[f"probabilities_{i}"] = shares[i]
        elif shares is not None:
            result[f"probabilities_{i}"] = np.column_stack([1 - shares[:, i], shares[:, i]])
    return result


def check_same(model: Any, frame: pd.DataFrame, sample: pd.DataFrame | None = None) -> LoweredModel:
    """Lower the model and compare every output on every row of the frame."""
    lowered = lower(model, frame if sample is None else sample)
    with warnings.catch_warnings():
        # Encoders warn about unknown categories and numpy about overflow; both are intended here.
        warnings.simplefilter("ignore")
        expected = fitted_answers(model, frame)
    found = score(lowered, frame)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # A sum of floats near 0 has no digits to compare, so the scale of most predictions is used.
        absolute = RELATIVE * float(np.median(np.abs(values))) if name == "value" else ABSOLUTE
        np.testing.assert_allclose(found[name], values, rtol=RELATIVE, atol=absolute, err_msg=name)
    return lowered
