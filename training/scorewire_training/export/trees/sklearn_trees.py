"""scikit-learn's decision trees, forests and gradient boosting.

All of them round their input to float and compare it with double thresholds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._iforest import _average_path_length
from sklearn.tree import BaseDecisionTree
from sklearn.utils.validation import check_is_fitted

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees.ensemble import Classes, Decision, Ensemble, Link, NodeMode, Tree
from scorewire_training.export.trees.model import TreeModel

_FORESTS = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor)
_BOOSTERS = (GradientBoostingClassifier, GradientBoostingRegressor)


def read_sklearn_trees(estimator: object) -> TreeModel | None:
    """Read a tree, a forest or gradient boosting; None for any other object.

    Raises:
        UnsupportedModelError: the model has no exact translation.
        sklearn.exceptions.NotFittedError: the estimator was not fitted.
    """
    if isinstance(estimator, BaseDecisionTree):
        check_is_fitted(estimator)
        return _averaged(estimator, [estimator])
    if isinstance(estimator, _FORESTS):
        check_is_fitted(estimator)
        return _averaged(estimator, estimator.estimators_)
    if isinstance(estimator, _BOOSTERS):
        check_is_fitted(estimator)
        return _boosted(estimator)
    return None


def read_isolation_forest(estimator: IsolationForest) -> tuple[TreeModel, float]:
    """The trees, which add up the depths of a row, and the expected sum of depths."""
    trees = []
    lengths = zip(estimator._decision_path_lengths, estimator._average_path_length_per_tree, strict=True)
    members = zip(estimator.estimators_, estimator.estimators_features_, lengths, strict=True)
    for member, features, (path, rest) in members:
        # Path lengths count nodes, depths count the steps between them.
        depth = np.asarray(path, np.float64) + np.asarray(rest, np.float64) - 1.0
        tree = _tree(member.tree_, depth.reshape(-1, 1), (0,))
        trees.append(replace(tree, feature=np.asarray(features, np.int64)[np.maximum(tree.feature, 0)]))
    usual = float(_average_path_length(np.array([estimator._max_samples]))[0])
    model = TreeModel(
        family="IsolationForest",
        feature_count=estimator.n_features_in_,
        input_type="float32",
        ensemble=Ensemble(trees=tuple(trees), base=np.zeros(1), element_type="float64"),
    )
    return model, len(trees) * usual


def _averaged(estimator: Any, members: list[BaseDecisionTree]) -> TreeModel:
    name = type(estimator).__name__
    several: list[Classes] = []
    if hasattr(estimator, "classes_"):
        listed = estimator.classes_ if estimator.n_outputs_ > 1 else [estimator.classes_]
        several = [
            Classes(labels=tuple(str(label) for label in classes), decision=Decision.LARGEST_PROBABILITY)
            for classes in listed
        ]
    # The values of a tree are [nodes, outputs, classes], padded for labels with fewer classes.
    used = [np.arange(len(classes.labels)) for classes in several] or [
        np.zeros(1, np.int64)
    ] * estimator.n_outputs_
    outputs, places = np.repeat(np.arange(len(used)), [len(own) for own in used]), np.concatenate(used)
    targets = len(places)
    trees = tuple(
        _tree(member.tree_, member.tree_.value[:, outputs, places], tuple(range(targets)))
        for member in members
    )
    return TreeModel(
        family=name,
        feature_count=estimator.n_features_in_,
        input_type="float32",
        ensemble=Ensemble(trees=trees, base=np.zeros(targets), element_type="float64", divisor=len(trees)),
        classes=several[0] if len(several) == 1 else None,
        label_classes=tuple(several) if len(several) > 1 else (),
    )


def _boosted(estimator: GradientBoostingClassifier | GradientBoostingRegressor) -> TreeModel:
    name = type(estimator).__name__
    if estimator.init_ != "zero" and not _is_constant(estimator.init_):
        raise UnsupportedModelError(
            f"{name} starts from {type(estimator.init_).__name__}, whose predictions depend on the row",
            "fit it with init=None or init='zero'",
        )
    # The start is the same for every row, so any row gives it.
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    trees = tuple(
        _tree(member.tree_, estimator.learning_rate * member.tree_.value[:, 0, :1], (target,))
        for stage in estimator.estimators_
        for target, member in enumerate(stage)
    )
    link, slope, classes = Link.IDENTITY, 1.0, None
    if isinstance(estimator, GradientBoostingClassifier):
        classes = Classes(
            labels=tuple(str(label) for label in estimator.classes_),
            decision=Decision.MARGIN_FROM_ZERO if len(base) == 1 else Decision.LARGEST_MARGIN,
        )
        link = Link.SIGMOID if len(base) == 1 else Link.SOFTMAX
        slope = 2.0 if estimator.loss == "exponential" else 1.0
    return TreeModel(
        family=f"{name} ({estimator.loss})",
        feature_count=estimator.n_features_in_,
        input_type="float32",
        ensemble=Ensemble(trees=trees, base=np.asarray(base, np.float64), element_type="float64"),
        link=link,
        slope=slope,
        # scipy's expit calls the C library; softmax is NumPy's.
        has_plain_link=link is Link.SIGMOID,
        classes=classes,
    )


def _is_constant(init: Any) -> bool:
    if type(init) is DummyClassifier:
        return bool(init.strategy in ("prior", "most_frequent", "constant"))
    return type(init) is DummyRegressor


def _tree(tree: Any, values: NDArray[np.float64], targets: tuple[int, ...]) -> Tree:
    is_leaf = tree.children_left == -1
    return Tree(
        is_leaf=is_leaf,
        feature=tree.feature.astype(np.int64),
        mode=np.full(len(is_leaf), NodeMode.AT_MOST, np.int64),
        threshold=tree.threshold.astype(np.float64),
        true_child=tree.children_left.astype(np.int64),
        false_child=tree.children_right.astype(np.int64),
        missing_true=tree.missing_go_to_left.astype(np.bool_),
        values=values,
        targets=targets,
        cover=tree.weighted_n_node_samples.astype(np.float64),
    )
