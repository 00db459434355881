"""LightGBM's boosters and estimators, read from the booster's text format.

The format has flat arrays; a child below 0 is the leaf ~child.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.trees.ensemble import (
    LIGHTGBM_ZERO,
    Classes,
    CodeRounding,
    Decision,
    Ensemble,
    Link,
    NodeMode,
    Tree,
)
from scorewire_training.export.trees.lightgbm_linear_trees import has_linear_leaves, read_linear_leaves
from scorewire_training.export.trees.model import TreeModel

_LINKS = {
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.SOFTPLUS,
    "fair": Link.IDENTITY,
    "gamma": Link.EXP,
    "huber": Link.IDENTITY,
    "lambdarank": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "multiclass": Link.SOFTMAX,
    "multiclassova": Link.SIGMOID,
    "poisson": Link.EXP,
    "quantile": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "tweedie": Link.EXP,
}
CLASSIFIERS = {"binary", "multiclass", "multiclassova"}
_TRUE = {"true", "1", "+"}

# The bits of decision_type.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_SHIFT, _MISSING_MASK = 2, 3
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2
# Not part of the format: splits of categories ignore the kind of missing.
_ANY_CATEGORY = -1


def read_lightgbm(estimator: object, *, by_row: bool = False) -> TreeModel | None:
    """Read a Booster or an LGBMModel; None for any other object.

    A model that stopped early predicts with the trees up to its best iteration.
    LightGBM reads tiny numbers as 0, except in sparse matrices stored `by_row`.

    Raises:
        UnsupportedModelError: the model has no exact translation.
        sklearn.exceptions.NotFittedError: the estimator was not fitted.
    """
    if isinstance(estimator, lightgbm.Booster):
        return _read(estimator, None, by_row=by_row)
    if isinstance(estimator, lightgbm.LGBMModel):
        if str(estimator.get_params().get("pred_early_stop", "")).lower() in _TRUE:
            raise UnsupportedModelError(
                f"{type(estimator).__name__} with pred_early_stop=True leaves trees out for rows that look "
                "settled, so its scores are not sums over all trees",
                "set it to False by model.set_params(pred_early_stop=False), which changes the scores, or "
                "export model.booster_, which uses all trees",
            )
        return _read(estimator.booster_, estimator, by_row=by_row)
    return None


def _read(booster: lightgbm.Booster, estimator: lightgbm.LGBMModel | None, *, by_row: bool) -> TreeModel:
    name = type(booster if estimator is None else estimator).__name__
    header, *sections = _sections(booster.model_to_string())
    targets = int(header["num_tree_per_iteration"])
    trees = [_tree(section, i % targets, by_row=by_row) for i, section in enumerate(sections)]
    objective, *settings = header.get("objective", "custom").split()
    if objective not in _LINKS and objective != "custom":
        raise UnsupportedModelError(
            f"{name}'s objective {objective!r} has no known link function",
            f"use one of {', '.join(sorted(_LINKS))}",
        )
    parameters = dict(setting.split(":", 1) for setting in settings if ":" in setting)
    # A booster with a custom objective predicts margins.
    link = _LINKS.get(objective, Link.IDENTITY)
    ensemble = Ensemble(
        trees=tuple(trees),
        base=np.zeros(targets),
        element_type="float64",
        divisor=max(1, len(trees) // targets) if "average_output" in header else 1,
        zero_is_missing=_zero_is_missing(sections, name),
        code_rounding=CodeRounding.TOWARDS_ZERO,
    )
    is_linear = any(has_linear_leaves(section) for section in sections)
    return TreeModel(
        family=f"{name} ({objective}{', linear trees' if is_linear else ''})",
        feature_count=int(header["max_feature_idx"]) + 1,
        input_type="float64",
        ensemble=read_linear_leaves(ensemble, sections) if is_linear else ensemble,
        link=Link.SIGNED_SQUARE if "sqrt" in settings else link,
        slope=float(parameters.get("sigmoid", 1)),
        has_plain_link=True,
        classes=_classes(estimator, objective, targets, name),
    )


def _sections(text: str) -> Iterator[dict[str, str]]:
    """The header and each tree, as the texts before and after the "=" of each line."""
    model, end, _ = text.partition("\nend of trees")
    if not end:
        raise UnsupportedModelError("the LightGBM model's text is cut off", "save and load it anew")
    for block in model.split("\nTree="):
        pairs = (line.partition("=") for line in block.splitlines())
        yield {key: value for key, _, value in pairs}


def _integers(section: dict[str, str], key: str) -> NDArray[np.int64]:
    return np.array(section.get(key, "").split(), np.int64)


def _floats(section: dict[str, str], key: str) -> NDArray[np.float64]:
    return np.array(section.get(key, "").split(), np.float64)


def _tree(section: dict[str, str], target: int, *, by_row: bool) -> Tree:
    """A tree with its inner nodes first and then its leaves."""
    leaf_count = int(section["num_leaves"])
    inner_count = leaf_count - 1
    leaf_values = _floats(section, "leaf_value")
    kind = np.zeros(inner_count, np.int64)
    feature, threshold = kind, np.zeros(inner_count)
    left = right = kind
    if inner_count:
        kind, feature = _integers(section, "decision_type"), _integers(section, "split_feature")
        threshold = _floats(section, "threshold")
        left, right = (
            np.where(child < 0, inner_count + ~child, child)
            for child in (_integers(section, "left_child"), _integers(section, "right_child"))
        )
    categorical = (kind & _CATEGORICAL) != 0
    # If no value was missing in training, LightGBM reads NaN as 0.
    missing_left = np.where(
        (kind >> _MISSING_SHIFT & _MISSING_MASK) == _MISSING_NONE,
        threshold >= 0,
        (kind & _DEFAULT_LEFT) != 0,
    )

    def padded(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, np.zeros(leaf_count, values.dtype)])

    return Tree(
        is_leaf=np.arange(inner_count + leaf_count) >= inner_count,
        feature=padded(feature),
        mode=padded(np.where(categorical, NodeMode.MEMBER, NodeMode.AT_MOST)),
        threshold=padded(threshold if by_row else _beside_zero(threshold)),
        true_child=padded(left),
        false_child=padded(right),
        missing_true=padded(missing_left & ~categorical),
        values=np.concatenate([np.zeros(inner_count), leaf_values])[:, np.newaxis],
        targets=(target,),
        members=_members(section, categorical, threshold),
        cover=_cover(section, leaf_count),
    )


def _cover(section: dict[str, str], leaf_count: int) -> NDArray[np.float64] | None:
    """The training rows of each node: LightGBM explains with these counts, and not with weights."""
    if leaf_count == 1:
        return np.ones(1)
    cover = np.concatenate([_floats(section, "internal_count"), _floats(section, "leaf_count")])
    # Where a model's text lacks the counts, LightGBM takes and writes zeros.
    return cover if len(cover) == 2 * leaf_count - 1 and cover[0] > 0 else None


def _beside_zero(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds that decide as LightGBM does, which reads values up to its zero as 0."""
    small = np.abs(threshold) <= LIGHTGBM_ZERO
    return np.where(
        small & (threshold < 0),
        np.nextafter(-LIGHTGBM_ZERO, -np.inf),
        np.where(small, LIGHTGBM_ZERO, threshold),
    )


def _members(
    section: dict[str, str], categorical: NDArray[np.bool_], threshold: NDArray[np.float64]
) -> dict[int, NDArray[np.float64]]:
    """The codes of each categorical split; its threshold is the index of its bit set."""
    if not categorical.any():
        return {}
    words = np.array(section["cat_threshold"].split(), np.uint32)
    sets = [words[begin:end] for begin, end in pairwise(_integers(section, "cat_boundaries"))]
    return {
        int(node): np.flatnonzero(
            np.unpackbits(sets[int(threshold[node])].astype("<u4").view(np.uint8), bitorder="little")
        ).astype(np.float64)
        for node in np.flatnonzero(categorical)
    }


def _zero_is_missing(sections: list[dict[str, str]], name: str) -> frozenset[int]:
    """The features whose zeros count as missing.

    Raises:
        UnsupportedModelError: trees treat a feature differently, because training was
            continued with other settings.
    """
    missing_kinds: dict[int, set[int]] = {}
    for section in sections:
        if int(section["num_leaves"]) == 1:
            continue
        kinds = _integers(section, "decision_type")
        is_category = (kinds & _CATEGORICAL) != 0
        missing = np.where(is_category, _ANY_CATEGORY, kinds >> _MISSING_SHIFT & _MISSING_MASK)
        for feature, missing_kind in zip(
            _integers(section, "split_feature").tolist(), missing.tolist(), strict=True
        ):
            missing_kinds.setdefault(feature, set()).add(missing_kind)
    for feature, found in missing_kinds.items():
        if (_ANY_CATEGORY in found and len(found) > 1) or {_MISSING_ZERO, _MISSING_NAN} <= found:
            raise UnsupportedModelError(
                f"{name}'s trees treat feature {feature} in different ways",
                "train it from the start with one setting of categorical_feature and zero_as_missing",
            )
    return frozenset(feature for feature, found in missing_kinds.items() if _MISSING_ZERO in found)


def _classes(estimator: lightgbm.LGBMModel | None, objective: str, targets: int, name: str) -> Classes | None:
    count = max(targets, 2)
    labels = tuple(str(i) for i in range(count))
    if estimator is None:
        if objective not in CLASSIFIERS:
            return None
    elif isinstance(estimator, lightgbm.LGBMClassifier):
        labels = tuple(str(label) for label in estimator.classes_)
        if objective not in CLASSIFIERS | {"cross_entropy"}:
            raise UnsupportedModelError(
                f"{name}'s objective {objective!r} gives no probabilities",
                "fit it with objective='binary' or 'multiclass', or export its booster_",
            )
        if len(labels) != count:
            raise UnsupportedModelError(
                f"{name} knows {len(labels)} classes but scores {count}",
                "fit it on as many classes as it scores",
            )
    else:
        return None
    return Classes(labels=labels, decision=Decision.LARGEST_PROBABILITY)
