from __future__ import annotations

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import ELEMENT_TYPES, Graph
from scorewire_training.export.trees import read_trees
from scorewire_training.export.trees.ensemble import (
    CodeRounding,
    Ensemble,
    NodeMode,
    Tree,
)
from scorewire_training.export.trees.model import TreeModel
from tests.scorewire_training.export.trees.comparison import run, sample, target

X = sample(300)
NUMBER = target(X)


@pytest.mark.parametrize("other", [object(), None, LogisticRegression(), IsolationForest()])
def test_what_is_no_tree_ensemble_is_left_to_others(other: object) -> None:
    assert read_trees(other) is None


@pytest.mark.parametrize(
    "kind",
    [xgboost.XGBClassifier, lightgbm.LGBMRegressor, HistGradientBoostingRegressor, RandomForestRegressor],
)
def test_an_estimator_that_was_not_fitted_is_refused(kind: type) -> None:
    with pytest.raises(NotFittedError):
        read_trees(kind())


def test_a_classifier_gives_probabilities_and_a_label() -> None:
    labels = np.array(["yes", "no"])[(NUMBER > 0).astype(int)]
    model = read_trees(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, labels))
    assert model is not None
    graph = Graph()
    outputs = model.emit(graph, graph.input("x", ELEMENT_TYPES[model.input_type], 6))
    assert [output.name for output in outputs] == ["probabilities", "label"]
    assert [output.width for output in outputs] == [2, 1]
    assert [output.kind for output in outputs] == [
        schema_pb2.OUTPUT_KIND_PROBABILITY,
        schema_pb2.OUTPUT_KIND_CLASS,
    ]
    assert all(output.class_labels == ("no", "yes") for output in outputs)
    assert graph.ml_opset == 5


def test_two_models_share_a_graph() -> None:
    first = xgboost.XGBRegressor(n_estimators=3).fit(X, NUMBER)
    second = RandomForestRegressor(3, random_state=0).fit(X, NUMBER)
    graph = Graph()
    x = graph.input("x", ELEMENT_TYPES["float32"], 6)
    for name, estimator in (("first", first), ("second", second)):
        model = read_trees(estimator)
        assert model is not None
        (value,) = model.emit(graph, x)
        graph.output(name, value.tensor, ELEMENT_TYPES[model.ensemble.element_type], value.width)
    assert len(graph.build("two").graph.output) == 2


def stump(mode: NodeMode, members: list[float], missing_true: bool, element_type: str) -> TreeModel:
    """A tree with one split on one feature; it predicts 1 where the comparison is true."""
    tree = Tree(
        is_leaf=np.array([False, True, True]),
        feature=np.zeros(3, np.int64),
        mode=np.array([mode, 0, 0]),
        threshold=np.zeros(3),
        true_child=np.array([1, 0, 0]),
        false_child=np.array([2, 0, 0]),
        missing_true=np.array([missing_true, False, False]),
        values=np.array([[0.0], [1.0], [0.0]]),
        targets=(0,),
        members={0: np.array(members)} if mode is NodeMode.MEMBER else {},
    )
    ensemble = Ensemble(
        trees=(tree,), base=np.zeros(1), element_type=element_type, code_rounding=CodeRounding.MISSING
    )
    return TreeModel(family="stump", feature_count=1, input_type=element_type, ensemble=ensemble)


@pytest.mark.parametrize("element_type", ["float32", "float64"])
@pytest.mark.parametrize("missing_true", [False, True])
@pytest.mark.parametrize(
    "members",
    [[], [0], [1], [32], [64], [1, 64], [64, 65], [0, 2, 3], [-64, -1, 3], [1000, 1001], list(range(70))],
)
def test_members_of_sets_are_found_and_nothing_else(
    element_type: str, missing_true: bool, members: list[float]
) -> None:
    model = stump(NodeMode.MEMBER, members, missing_true, element_type)
    values = np.array([*range(-130, 200), 1000, 1001, 1002, 2.0**31, 2.0**40, 1e30, np.nan, 0.5, 1.5, 64.5])
    answers = run(model, values[:, np.newaxis])["value"][:, 0]
    odd = np.isnan(values) | (np.fmod(np.nan_to_num(values), 1) != 0)
    assert (answers == np.where(odd, missing_true, np.isin(values, members))).all()


@pytest.mark.parametrize("element_type", ["float32", "float64"])
@pytest.mark.parametrize("mode", [NodeMode.LESS, NodeMode.AT_MOST])
def test_a_threshold_and_what_lies_beside_it(element_type: str, mode: NodeMode) -> None:
    model = stump(mode, [], True, element_type)
    tiny = float(np.finfo(np.float32).tiny)
    values = np.array([[-np.inf], [-tiny], [-0.0], [0.0], [tiny], [np.inf], [np.nan]])
    at = 1.0 if mode is NodeMode.AT_MOST else 0.0
    assert run(model, values)["value"][:, 0].tolist() == [1, 1, at, at, 0, 0, 1]


def test_an_ensemble_without_trees_answers_its_base() -> None:
    ensemble = Ensemble(trees=(), base=np.array([2.0, 0.0]), element_type="float32")
    model = TreeModel(family="empty", feature_count=1, input_type="float32", ensemble=ensemble)
    assert run(model, np.zeros((3, 1)))["value"].tolist() == [[2.0, 0.0]] * 3
    assert model.thresholds == {}
    assert model.categories == {}
