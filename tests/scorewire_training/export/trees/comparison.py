"""Runs the graph of a tree model and compares it with the fitted model's predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import ELEMENT_TYPES, Graph
from scorewire_training.export.trees import TreeModel, read_trees

# Column 3 has few distinct whole numbers, column 5 many: they serve as categories.
SMALL, LARGE = 3, 5


def sample(rows: int = 500, *, missing: float = 0.15, seed: int = 0) -> NDArray[np.float64]:
    """Rows [rows, 6]: decimals, counts, categories; NaN with the given probability."""
    random = np.random.default_rng(seed)
    X = np.column_stack(
        [
            random.normal(size=rows),
            np.round(random.normal(scale=3, size=rows), 1),
            random.exponential(size=rows) * (random.random(rows) < 0.7),
            random.integers(0, 7, rows),
            random.normal(loc=1e3, scale=0.01, size=rows),
            random.integers(0, 60, rows),
        ]
    ).astype(np.float64)
    X[random.random(X.shape) < missing] = np.nan
    return X


def target(X: NDArray[np.float64], *, seed: int = 1) -> NDArray[np.float64]:
    """A target that depends on every column and on missing values; its standard deviation is about 2."""
    random = np.random.default_rng(seed)
    filled = np.nan_to_num(X, nan=-1.0)
    effect = random.normal(size=61)
    return np.asarray(
        filled[:, 0]
        + 0.3 * filled[:, 1] * np.isnan(X[:, 2])
        + filled[:, 2]
        + np.sin(filled[:, SMALL])
        + (filled[:, 4] > 1e3)
        + effect[filled[:, LARGE].astype(int)]
        + random.normal(scale=0.3, size=len(X))
    )


# The rows that the tests of all libraries share, and a target of every kind.
X = sample()
COMPLETE = np.nan_to_num(X)
NUMBER = target(X)
# Three targets for each row.
SEVERAL = np.column_stack([NUMBER, -(NUMBER**2), X[:, 1] > 0]).astype(np.float64)
POSITIVE = np.exp(NUMBER / 3)
BINARY = np.digitize(NUMBER, [NUMBER.mean()])
THREE = np.digitize(NUMBER, np.quantile(NUMBER, [0.3, 0.7]))


def categorical_frame() -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """The first column of X beside a category that follows THREE, and the category's codes.

    The order of the categories is neither that of their names nor that of THREE.
    Every ninth row has none: its code is NaN.
    """
    names = np.array(["zeta", "alpha", "mid"], dtype=object)[THREE]
    names[::9] = None
    texts = pd.Categorical(names, ["zeta", "mid", "alpha"])
    codes = np.where(texts.codes < 0, np.nan, texts.codes)
    return pd.DataFrame({"number": X[:, 0], "text": texts}), codes


def hard_rows(
    model: TreeModel,
    X: NDArray[np.float64],
    *,
    missing: bool,
    infinite: bool,
    categorical: tuple[int, ...] = (),
    codes: tuple[float, ...] = (),
) -> NDArray[np.float64]:
    """Rows of X with single values replaced: thresholds and one step beside them, extremes, odd codes."""
    numbers = [0.0, -0.0, 1.0, -1.0, 1e-36, -1e-36, 1e-20, 1e30, -1e30, 2.0**24 + 1, 16777217.5]
    if missing:
        numbers.append(np.nan)
    if infinite:
        numbers += [np.inf, -np.inf]
    rows, base = [], X[:7]
    for feature in range(X.shape[1]):
        if feature in categorical:
            values = list(codes) + ([np.nan] if missing else [])
        else:
            values = list(numbers)
            for threshold in model.thresholds.get(feature, np.zeros(0))[:40]:
                single = np.float32(threshold)
                values += [threshold, np.nextafter(threshold, np.inf), np.nextafter(threshold, -np.inf)]
                steps = (
                    single,
                    np.nextafter(single, np.float32(np.inf)),
                    np.nextafter(single, np.float32(-np.inf)),
                )
                values += [float(step) for step in steps]
        for i, value in enumerate(values):
            row = base[i % len(base)].copy()
            row[feature] = value
            rows.append(row)
    if missing:
        rows.append(np.full(X.shape[1], np.nan))
    return np.array(rows)


def run(model: TreeModel, X: NDArray[np.float64], *, threads: int = 1) -> dict[str, NDArray[Any]]:
    """The outputs of the model's graph by name."""
    graph = Graph()
    x = graph.input("x", ELEMENT_TYPES[model.input_type], model.feature_count)
    outputs = model.emit(graph, x)
    number = ELEMENT_TYPES[model.ensemble.element_type]
    for output in outputs:
        is_class = output.kind == schema_pb2.OUTPUT_KIND_CLASS
        graph.output(output.name, output.tensor, TensorProto.INT64 if is_class else number, output.width)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        graph.build("test").SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    with np.errstate(over="ignore"):
        feed = X.astype(model.input_type)
    answers = session.run([output.name for output in outputs], {"x": feed})
    for output, answer in zip(outputs, answers, strict=True):
        assert answer.shape == (len(X), output.width)
    return {output.name: answer for output, answer in zip(outputs, answers, strict=True)}


def assert_close(got: NDArray[Any], want: NDArray[Any], spread: NDArray[Any]) -> None:
    """Check equality within a relative 5e-6 plus 5e-6 standard deviations of the columns of `spread`."""
    want = np.asarray(want, np.float64).reshape(len(got), -1)
    spread = np.asarray(spread, np.float64).reshape(-1, want.shape[1])
    assert got.shape == want.shape
    limit = 5e-6 * np.abs(want) + 5e-6 * spread.std(axis=0)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        wrong = ~(same | (np.abs(got - want) <= limit)).all(axis=1)
    assert not wrong.any(), (int(wrong.sum()), np.flatnonzero(wrong)[:5], got[wrong][:3], want[wrong][:3])


def assert_exports(
    estimator: Any,
    X: NDArray[np.float64],
    *,
    predict: Callable[[NDArray[np.float64]], NDArray[Any]] | None = None,
    missing: bool = True,
    infinite: bool = True,
    categorical: tuple[int, ...] = (),
    codes: tuple[float, ...] = (),
) -> TreeModel:
    """Check that the graph predicts as the estimator does, on X and on hard rows.

    `predict` gives a booster's answers, and then labels are those of largest
    probability; an estimator is asked itself.
    """
    model = read_trees(estimator)
    assert model is not None
    assert model.feature_count == X.shape[1]
    hard = hard_rows(model, X, missing=missing, infinite=infinite, categorical=categorical, codes=codes)
    rows = np.concatenate([X, hard])
    answers = run(model, rows)
    if "value" in answers:
        want = np.asarray((predict or estimator.predict)(rows))
        assert_close(answers["value"], want, want[: len(X)])
        return model
    probabilities = np.asarray((predict or estimator.predict_proba)(rows))
    if probabilities.ndim == 1:
        probabilities = np.column_stack([1 - probabilities, probabilities])
    assert_close(answers["probabilities"], probabilities, probabilities[: len(X)])
    labels = np.array([str(i) for i in range(probabilities.shape[1])])
    if predict is None:
        labels = np.array([str(label) for label in estimator.classes_])
        decided = np.array([str(label) for label in estimator.predict(rows)])
    else:
        decided = labels[np.argmax(probabilities, axis=1)]
    assert (labels[answers["label"][:, 0]] == decided).all()
    return model
