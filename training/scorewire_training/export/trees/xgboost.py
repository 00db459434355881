"""XGBoost's boosters and estimators, read from the booster's JSON."""

from __future__ import annotations

import ctypes
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees.ensemble import (
    Classes,
    CodeRounding,
    Decision,
    Ensemble,
    Link,
    NodeMode,
    Tree,
)
from scorewire_training.export.trees.linear_boosters import LinearBooster
from scorewire_training.export.trees.model import TreeModel
from scorewire_training.export.trees.xgboost_missing import missing_of

# The link function of each objective. base_score is stored as a prediction and not as
# a margin, so `_base` has the inverse of each link.
_LINKS = {
    "binary:hinge": Link.STEP,
    "binary:logistic": Link.SIGMOID,
    "binary:logitraw": Link.IDENTITY,
    "count:poisson": Link.EXP,
    "multi:softmax": Link.SOFTMAX,
    "multi:softprob": Link.SOFTMAX,
    "rank:map": Link.IDENTITY,
    "rank:ndcg": Link.IDENTITY,
    "rank:pairwise": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:gamma": Link.EXP,
    "reg:logistic": Link.SIGMOID,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:squarederror": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:tweedie": Link.EXP,
    "survival:aft": Link.EXP_OF_DOUBLE,
    "survival:cox": Link.EXP,
}
# The objectives whose booster predicts probabilities of classes.
_BOOSTER_CLASSIFIERS = {"binary:logistic", "multi:softmax", "multi:softprob"}
_ESTIMATOR_CLASSIFIERS = _BOOSTER_CLASSIFIERS | {"binary:hinge", "reg:logistic"}


def read_xgboost(estimator: object) -> TreeModel | None:
    """Read a Booster or an XGBModel; None for any other object.

    A Booster predicts with all its trees; an estimator that stopped early predicts
    with the trees up to its best iteration.

    Raises:
        UnsupportedModelError: the model has no exact translation.
        sklearn.exceptions.NotFittedError: the estimator was not fitted.
    """
    if isinstance(estimator, xgboost.Booster):
        return _read(estimator, None)
    if isinstance(estimator, xgboost.XGBModel):
        return _read(estimator.get_booster(), estimator)
    return None


def _read(booster: xgboost.Booster, estimator: xgboost.XGBModel | None) -> TreeModel:
    name = "Booster" if estimator is None else type(estimator).__name__
    try:
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    except xgboost.core.XGBoostError as error:
        raise UnsupportedModelError(
            f"{name} cannot be saved, it has no features", "train it first"
        ) from error
    gradient_booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    if objective not in _LINKS:
        raise UnsupportedModelError(
            f"{name}'s objective {objective!r} has no known link function",
            f"use one of {', '.join(sorted(_LINKS))}",
        )
    parameters = learner["learner_model_param"]
    targets = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    missing = _missing_value(booster if estimator is None else estimator)
    base = _base(parameters["base_score"], _LINKS[objective], targets)
    ensemble: Ensemble | LinearBooster
    if gradient_booster["name"] == "gblinear":
        ensemble = _lines(gradient_booster["model"], base, missing)
    else:
        ensemble = Ensemble(
            trees=_trees(gradient_booster, estimator, name, base),
            base=base,
            element_type="float32",
            missing_value=missing,
            code_rounding=CodeRounding.FLOOR,
        )
    is_one_label = (
        targets == 1 or objective.startswith("multi:") or not isinstance(estimator, xgboost.XGBClassifier)
    )
    classes = _classes(estimator, objective, targets if is_one_label else 1, name)
    return TreeModel(
        family=f"{name} ({objective})" + ("" if missing is None else f", missing={missing:g}"),
        feature_count=int(parameters["num_feature"]),
        input_type="float32",
        ensemble=ensemble,
        link=_LINKS[objective],
        # The estimator takes the softmax of margins with scipy.
        has_plain_link=estimator is None or objective != "multi:softmax",
        classes=classes if is_one_label else None,
        label_classes=() if is_one_label or classes is None else (classes,) * targets,
    )


def _lines(model: dict[str, Any], base: NDArray[np.float64], missing: float | None) -> LinearBooster:
    weights = np.array(model["weights"], np.float32).reshape(-1, len(base))
    # gblinear starts every target at the first target's base score.
    return LinearBooster(weights=weights[:-1], bias=weights[-1] + np.float32(base[0]), missing_value=missing)


def _trees(
    gradient_booster: dict[str, Any],
    estimator: xgboost.XGBModel | None,
    name: str,
    base: NDArray[np.float64],
) -> tuple[Tree, ...]:
    model = gradient_booster.get("gbtree", gradient_booster)["model"]
    # The weights of DART: XGBoost 3.4 stores them with the trees, earlier releases beside them.
    weights = model.get("weight_drop", gradient_booster.get("weight_drop"))
    is_through_base = "weight_drop" in gradient_booster and estimator is not None
    trees = tuple(
        _tree(dump, model["tree_info"][i], 1.0 if weights is None or is_through_base else weights[i])
        for i, dump in enumerate(model["trees"][: _tree_count(estimator, model)])
    )
    if is_through_base:
        trees = tuple(
            _through_base(tree, np.float32(base[tree.targets[0]]), np.float32(weight))
            for tree, weight in zip(trees, weights, strict=False)
        )
    _check_feature_types(trees, name)
    return trees


def _through_base(tree: Tree, base: np.float32, weight: np.float32) -> Tree:
    """A tree of DART as estimators score it: its sum begins at the base score, which is taken off again."""
    leaves = ((base + tree.values.astype(np.float32)) - base) * weight
    return replace(tree, values=leaves.astype(np.float64))


def _tree_count(estimator: xgboost.XGBModel | None, model: dict[str, Any]) -> int:
    if estimator is not None:
        try:
            best_iteration = int(estimator.best_iteration)
        except AttributeError:  # it did not stop early
            return len(model["trees"])
        return int(model["iteration_indptr"][best_iteration + 1])
    return len(model["trees"])


def _tree(dump: dict[str, Any], target: int, weight: float) -> Tree:
    left, right = (np.array(dump[f"{side}_children"], np.int64) for side in ("left", "right"))
    is_leaf = left == -1
    categorical = np.array(dump["split_type"], np.int64) == 1
    default_left = np.array(dump["default_left"], np.int64) != 0
    # XGBoost computes in float; the decimals in JSON are floats.
    condition = np.array(dump["split_conditions"], np.float32)
    width = int(dump["tree_param"]["size_leaf_vector"])
    if width > 1:
        values, targets = _vector_leaves(dump, left, right, width), tuple(range(width))
    else:
        values, targets = condition[:, np.newaxis], (target,)
    members = {
        node: np.array(dump["categories"][begin : begin + size], np.float64)
        for node, begin, size in zip(
            dump["categories_nodes"],
            dump["categories_segments"],
            dump["categories_sizes"],
            strict=True,
        )
    }
    return Tree(
        is_leaf=is_leaf,
        feature=np.array(dump["split_indices"], np.int64),
        mode=np.where(categorical, NodeMode.MEMBER, NodeMode.LESS),
        threshold=condition.astype(np.float64),
        # The categories that a split names go right.
        true_child=np.where(categorical, right, left),
        false_child=np.where(categorical, left, right),
        missing_true=default_left != categorical,
        values=(values * np.float32(weight)).astype(np.float64),
        targets=targets,
        members=members,
        # Trees of several outputs do not have it before XGBoost 3.
        cover=np.array(dump["sum_hessian"], np.float64) if "sum_hessian" in dump else None,
    )


def _vector_leaves(
    dump: dict[str, Any], left: NDArray[np.int64], right: NDArray[np.int64], width: int
) -> NDArray[np.float32]:
    """The leaves of a tree with several targets, [nodes, width]."""
    if "leaf_weights" not in dump:
        return np.array(dump["base_weights"], np.float32).reshape(-1, width)
    leaves = np.array(dump["leaf_weights"], np.float32).reshape(-1, width)
    # The right child of a leaf is its index among the leaves; a tree of one leaf has no such index.
    number = np.where(left == -1, np.maximum(right, 0), 0)
    return leaves[number]


def _base(text: str, link: Link, targets: int) -> NDArray[np.float64]:
    parsed = json.loads(text)
    scores = np.array(parsed if isinstance(parsed, list) else [parsed], np.float32)
    with np.errstate(divide="ignore"):
        if link is Link.SIGMOID:
            scores = -_log(np.float32(1) / scores - np.float32(1))
        elif link in (Link.EXP, Link.EXP_OF_DOUBLE):
            scores = _log(scores)
    return np.broadcast_to(scores.astype(np.float64), targets).copy()


def _log(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithms as XGBoost computes them, by the C library; numpy's differ in the last bit of one in six."""
    try:
        log = ctypes.CDLL(None).logf
    except (AttributeError, OSError, TypeError):  # the process has no C library under this name
        return np.log(values.astype(np.float64)).astype(np.float32)
    log.argtypes, log.restype = [ctypes.c_float], ctypes.c_float
    return np.array([log(float(value)) for value in values], np.float32)


def _missing_value(model: xgboost.Booster | xgboost.XGBModel) -> float | None:
    """The number that means missing in addition to NaN; None if there is none."""
    missing = missing_of(model)
    return None if math.isnan(missing) else float(np.float32(missing))


def _check_feature_types(trees: tuple[Tree, ...], name: str) -> None:
    compared, named = set[int](), set[int]()
    for tree in trees:
        member = tree.mode == NodeMode.MEMBER
        compared.update(tree.feature[~tree.is_leaf & ~member].tolist())
        named.update(tree.feature[~tree.is_leaf & member].tolist())
    if both := sorted(compared & named):
        raise UnsupportedModelError(
            f"{name} splits feature {both[0]} both as a category and as a number",
            "train it anew on data of one kind",
        )


def _classes(estimator: xgboost.XGBModel | None, objective: str, targets: int, name: str) -> Classes | None:
    if estimator is None:
        if objective not in _BOOSTER_CLASSIFIERS or (targets > 1 and objective == "binary:logistic"):
            return None
        count = max(targets, 2)
    elif isinstance(estimator, xgboost.XGBClassifier):
        if objective not in _ESTIMATOR_CLASSIFIERS:
            raise UnsupportedModelError(
                f"{name}'s objective {objective!r} gives no probabilities",
                "fit it with objective='binary:logistic', or export its get_booster()",
            )
        if int(estimator.n_classes_) < 2:
            raise UnsupportedModelError(f"{name} was fitted on a single class", "fit it on two or more")
        count = int(estimator.n_classes_)
        if objective.startswith("multi:") and targets != count:
            raise UnsupportedModelError(
                f"{name} knows {count} classes but scores {targets}", "fit it on as many classes as it scores"
            )
        if objective == "multi:softprob" and count == 2:
            raise UnsupportedModelError(
                f"{name} with objective='multi:softprob' and two classes has no label for a row",
                "fit it with objective='binary:logistic'",
            )
    else:
        return None
    if objective == "multi:softmax":
        decision = Decision.LARGEST_MARGIN
    elif objective == "multi:softprob":
        decision = Decision.LARGEST_PROBABILITY
    else:
        decision = Decision.PROBABILITY_OVER_HALF
    return Classes(labels=tuple(str(i) for i in range(count)), decision=decision)
