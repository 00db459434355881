"""scikit-learn's HistGradientBoosting, read from its predictors' nodes.

The estimator encodes categorical features as 0, 1, ... and moves them to the front
before its trees read them. The export reverses both in the trees: splits name the
features and categories that the caller sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils.validation import check_is_fitted

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
from scorewire_training.export.trees.model import TreeModel

_LINKS = {
    "HalfBinomialLoss": Link.SIGMOID,
    "HalfMultinomialLoss": Link.SOFTMAX,
    "HalfSquaredError": Link.IDENTITY,
    "AbsoluteError": Link.IDENTITY,
    "PinballLoss": Link.IDENTITY,
    "HalfGammaLoss": Link.EXP,
    "HalfPoissonLoss": Link.EXP,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Columns:
    """The meaning of the trees' columns to the caller.

    `features[c]` is the feature of column c. `codes[c]` has the category of each code
    if the column is categorical.
    """

    features: NDArray[np.int64]
    codes: dict[int, NDArray[np.float64]]


def read_hist_gradient_boosting(estimator: object) -> TreeModel | None:
    """Read a HistGradientBoosting estimator; None for any other object.

    Raises:
        UnsupportedModelError: the model has no exact translation.
        sklearn.exceptions.NotFittedError: the estimator was not fitted.
    """
    if not isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return None
    check_is_fitted(estimator)
    name, loss = type(estimator).__name__, type(estimator._loss).__name__
    if loss not in _LINKS:
        raise UnsupportedModelError(
            f"{name}'s loss {loss} has no known link function", "use one of the losses that have a name"
        )
    base = np.asarray(estimator._baseline_prediction, np.float64).ravel()
    columns = _columns(estimator, name)
    classes = None
    if isinstance(estimator, HistGradientBoostingClassifier):
        classes = Classes(
            labels=tuple(str(label) for label in estimator.classes_),
            decision=Decision.MARGIN_OVER_ZERO if len(base) == 1 else Decision.LARGEST_MARGIN,
        )
        if len(classes.labels) != max(len(base), 2):
            raise UnsupportedModelError(f"{name} was fitted on a single class", "fit it on two or more")
    return TreeModel(
        family=f"{name} ({estimator.loss})",
        feature_count=estimator.n_features_in_,
        input_type="float64",
        ensemble=Ensemble(
            trees=tuple(
                _tree(predictor, target, columns)
                for iteration in estimator._predictors
                for target, predictor in enumerate(iteration)
            ),
            base=base,
            element_type="float64",
            code_rounding=CodeRounding.MISSING,
        ),
        link=_LINKS[loss],
        # scipy's expit calls the C library; softmax and exp are NumPy's.
        has_plain_link=_LINKS[loss] is Link.SIGMOID,
        classes=classes,
    )


def _columns(estimator: Any, name: str) -> _Columns:
    is_categorical = estimator.is_categorical_
    if estimator._preprocessor is None or is_categorical is None:
        return _Columns(features=np.arange(estimator.n_features_in_), codes={})
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    codes = {}
    for column, categories in enumerate(encoder.categories_):
        feature = int(np.flatnonzero(is_categorical)[column])
        if np.asarray(categories).dtype.kind not in "biuf":
            raise UnsupportedModelError(
                f"{name} encodes the texts of feature {feature} itself",
                "put an OrdinalEncoder before it and name the feature in categorical_features",
            )
        codes[column] = np.asarray(categories, np.float64)
        known = codes[column][~np.isnan(codes[column])]
        # onnxruntime stores the members of sets as 32-bit integers.
        if (np.abs(known) >= 2**31).any() or (np.fmod(known, 1) != 0).any():
            raise UnsupportedModelError(
                f"{name} has categories of feature {feature} that are not whole numbers below 2^31",
                "put an OrdinalEncoder before it and name the feature in categorical_features",
            )
    order = np.concatenate([np.flatnonzero(is_categorical), np.flatnonzero(~is_categorical)])
    return _Columns(features=order.astype(np.int64), codes=codes)


def _tree(predictor: Any, target: int, columns: _Columns) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    categorical = nodes["is_categorical"].astype(np.bool_) & ~is_leaf
    missing_left = nodes["missing_go_to_left"].astype(np.bool_)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    # An unknown category goes where a missing one goes. So a split names the
    # categories of the other side, and all others go with the missing ones.
    swapped = categorical & missing_left
    members = {}
    for node in np.flatnonzero(categorical).tolist():
        names = columns.codes[int(nodes["feature_idx"][node])]
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")[: len(names)] != 0
        chosen = ~bits if swapped[node] else bits
        members[node] = names[chosen & ~np.isnan(names)]
    return Tree(
        is_leaf=is_leaf,
        feature=columns.features[np.where(is_leaf, 0, nodes["feature_idx"])],
        mode=np.where(categorical, NodeMode.MEMBER, NodeMode.AT_MOST),
        threshold=nodes["num_threshold"].astype(np.float64),
        true_child=np.where(swapped, right, left),
        false_child=np.where(swapped, left, right),
        missing_true=missing_left & ~categorical,
        values=nodes["value"].astype(np.float64)[:, np.newaxis],
        targets=(target,),
        members=members,
        cover=nodes["count"].astype(np.float64),
    )
