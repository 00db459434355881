from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import Graph
from scorewire_training.export.trees import read_trees
from scorewire_training.releases import SKLEARN_RELEASE
from tests.scorewire_training.export.trees.comparison import (
    BINARY,
    COMPLETE,
    NUMBER,
    SEVERAL,
    THREE,
    X,
    assert_exports,
)

CLASSIFIERS = [
    lambda **kw: DecisionTreeClassifier(random_state=0, **kw),
    lambda **kw: ExtraTreeClassifier(random_state=0, **kw),
    lambda **kw: RandomForestClassifier(10, random_state=0, **kw),
    lambda **kw: ExtraTreesClassifier(10, random_state=0, **kw),
]
REGRESSORS = [
    lambda **kw: DecisionTreeRegressor(random_state=0, **kw),
    lambda **kw: ExtraTreeRegressor(random_state=0, **kw),
    lambda **kw: RandomForestRegressor(10, random_state=0, **kw),
    lambda **kw: ExtraTreesRegressor(10, random_state=0, **kw),
]


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("y", [BINARY, THREE, np.array(["a", "b", "c"])[THREE]])
def test_classifiers_with_missing_values(kind: Any, y: NDArray[Any]) -> None:
    missing = _takes_missing(kind())
    rows = X if missing else COMPLETE
    model = assert_exports(kind().fit(rows, y), rows, missing=missing, infinite=False)
    assert model.input_type == "float32"


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize("y", [NUMBER, SEVERAL, NUMBER * 1e6])
def test_regressors_with_missing_values(kind: Any, y: NDArray[Any]) -> None:
    missing = _takes_missing(kind())
    rows = X if missing else COMPLETE
    assert_exports(kind(max_depth=6).fit(rows, y), rows, missing=missing, infinite=False)


def _takes_missing(model: Any) -> bool:
    """Trees with random splits support missing values from scikit-learn 1.6 on."""
    return SKLEARN_RELEASE >= (1, 6) or not type(model).__name__.startswith("Extra")


def test_missing_values_that_training_never_saw() -> None:
    estimator = RandomForestClassifier(10, random_state=0).fit(COMPLETE, THREE)
    assert_exports(estimator, COMPLETE, missing=False, infinite=False)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_ties_between_classes_fall_as_in_the_library(depth: int) -> None:
    # A few shallow trees over the same rows often give two classes the same probability.
    rows = np.tile(np.round(X[:60]), (2, 1))
    y = np.concatenate([np.zeros(60, int), np.ones(60, int)])
    estimator = RandomForestClassifier(4, max_depth=depth, random_state=0, bootstrap=False)
    probabilities = estimator.fit(rows, y).predict_proba(rows)
    assert (probabilities[:, 0] == probabilities[:, 1]).any()
    assert_exports(estimator, rows, infinite=False)


def test_a_tree_of_one_leaf() -> None:
    assert_exports(
        DecisionTreeClassifier(min_samples_leaf=400).fit(X, THREE), X, missing=False, infinite=False
    )


def test_a_single_class() -> None:
    assert_exports(RandomForestClassifier(3).fit(X, np.zeros(len(X), int)), X, missing=False, infinite=False)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
@pytest.mark.parametrize("init", [None, "zero"])
def test_gradient_boosting_regressors(loss: str, init: str | None) -> None:
    estimator = GradientBoostingRegressor(n_estimators=12, loss=loss, init=init).fit(COMPLETE, NUMBER)
    model = assert_exports(estimator, COMPLETE, missing=False, infinite=False)
    assert model.family == f"GradientBoostingRegressor ({loss})"


@pytest.mark.parametrize(("loss", "y"), [("log_loss", BINARY), ("log_loss", THREE), ("exponential", BINARY)])
@pytest.mark.parametrize("init", [None, "zero", DummyClassifier(strategy="prior")])
def test_gradient_boosting_classifiers(loss: str, y: NDArray[Any], init: Any) -> None:
    estimator = GradientBoostingClassifier(n_estimators=12, loss=loss, init=init).fit(COMPLETE, y)
    assert_exports(estimator, COMPLETE, missing=False, infinite=False)


def test_gradient_boosting_from_a_constant() -> None:
    estimator = GradientBoostingRegressor(n_estimators=12, init=DummyRegressor(strategy="median"))
    assert_exports(estimator.fit(COMPLETE, NUMBER), COMPLETE, missing=False, infinite=False)


def test_gradient_boosting_of_a_data_frame() -> None:
    frame = pd.DataFrame(COMPLETE, columns=list("abcdef"))
    estimator = GradientBoostingRegressor(n_estimators=12).fit(frame, NUMBER)

    def predict(rows: NDArray[np.float64]) -> NDArray[Any]:
        return np.asarray(estimator.predict(pd.DataFrame(rows, columns=frame.columns)))

    assert_exports(estimator, COMPLETE, predict=predict, missing=False, infinite=False)


@pytest.mark.parametrize(
    ("estimator", "way_out"),
    [
        (
            lambda: GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(COMPLETE, NUMBER),
            "init=None",
        ),
        (
            lambda: GradientBoostingClassifier(
                init=DummyClassifier(strategy="stratified"), n_estimators=2
            ).fit(COMPLETE, BINARY),
            "init=None",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_with_a_way_out(estimator: Any, way_out: str) -> None:
    with pytest.raises(UnsupportedModelError, match=way_out):
        read_trees(estimator())


def test_a_forest_grown_to_the_end_is_written_once_for_all_classes() -> None:
    grown = RandomForestClassifier(4, random_state=0).fit(COMPLETE, THREE)
    cut = RandomForestClassifier(4, max_depth=3, random_state=0).fit(COMPLETE, THREE)
    for estimator, copies in ((grown, 1), (cut, 3)):
        model = assert_exports(estimator, COMPLETE, missing=False, infinite=False)
        graph = Graph()
        model.emit(graph, graph.input("x", TensorProto.FLOAT, COMPLETE.shape[1]))
        (trees,) = (node for node in graph.build("forest").graph.node if node.op_type == "TreeEnsemble")
        (roots,) = (each.ints for each in trees.attribute if each.name == "tree_roots")
        assert len(roots) == 4 * copies
