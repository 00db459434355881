"""What a library itself says that the columns of its model contribute."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import xgboost
from numpy.typing import NDArray

from scorewire_training.export.explanation.plan import Plan
from scorewire_training.export.lowering.pipelines import steps_at_predict
from scorewire_training.export.parity.fitted_model import to_dmatrix

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LibraryContributions:
    """Contributions as XGBoost's `pred_contribs` and LightGBM's `pred_contrib` compute them.

    `values` [rows, margins, columns + 1] has those of the model's own columns, and last the
    expected margin. `in_float` tells whether they were computed in float.
    """

    values: _Numbers
    in_float: bool

    @property
    def column_count(self) -> int:
        """The number of columns of the library's model."""
        return int(self.values.shape[2]) - 1

    def difference(self, own: ModelColumns, base: _Numbers, values: _Numbers) -> _Numbers:
        """The largest difference of each row and margin, [rows, margins].

        Args:
            own: which feature each column of the library's model is.
            base: the base, [margins].
            values: the contributions of features, [rows, margins, features].
        """
        columns = sorted(own.features)
        ours = values[:, :, [own.features[column] for column in columns]]
        theirs = self.values[:, :, columns] * own.scale
        if own.is_linear:
            # The library's contributions of products are those for the reference 0.
            theirs = theirs - theirs.mean(axis=0)
            return np.asarray(np.abs(theirs - (ours - ours.mean(axis=0))).max(axis=2))
        of_base = np.abs(self.values[:, :, -1] * own.scale + own.constants - base)
        return np.asarray(np.maximum(np.abs(theirs - ours).max(axis=2, initial=0.0), of_base))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelColumns:
    """How the columns of a library's model, and its margins, are those of an explanation.

    Attributes:
        features: the feature of each column that is read; no feature has several columns.
        scale: the factor from the library's contributions to the explanation's.
        constants: what the explanation adds to the library's expected margins, [margins].
        is_linear: whether the model is linear, and not made of trees.
    """

    features: Mapping[int, int]
    scale: float
    constants: _Numbers
    is_linear: bool = False


def match_columns(plan: Plan, column_count: int, feature_count: int) -> ModelColumns | None:
    """Match the columns of a library's model with features.

    Returns:
        None if a feature has several columns, or if the plan is not of one such model: then
        the players of the library's game are others.
    """
    if len(plan.trees) == 1 and not plan.linear and len(plan.trees[0].features) == column_count:
        (trees,) = plan.trees
        features = {
            column: feature for column, feature in enumerate(trees.features) if feature < feature_count
        }
        # LightGBM adds up the trees of a forest, whose margin is their mean.
        own = ModelColumns(features=features, scale=trees.scale, constants=plan.constants)
    elif len(plan.linear) == 1 and not plan.trees:
        (part,) = plan.linear
        features = dict(zip(part.columns.tolist(), part.features.tolist(), strict=True))
        own = ModelColumns(
            features=features, scale=plan.margin.scale, constants=plan.constants, is_linear=True
        )
    else:
        return None
    return own if len(set(features.values())) == len(features) else None


def library_contributions(model: object, rows: Any) -> LibraryContributions | None:
    """The library's own contributions for rows.

    Args:
        model: a model, or a pipeline that ends in one.
        rows: rows as it takes them.

    Returns:
        None if the library computes none for this model.
    """
    *before, last = steps_at_predict(model) or [model]
    if not isinstance(last, xgboost.Booster | xgboost.XGBModel | lightgbm.Booster | lightgbm.LGBMModel):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # What the model is warned of, it scores.
        warnings.simplefilter("ignore")
        for step in before:
            rows = step.transform(rows) if step != "passthrough" else rows
        try:
            if isinstance(last, xgboost.Booster | xgboost.XGBModel):
                return LibraryContributions(values=_of_xgboost(last, rows), in_float=True)
            return LibraryContributions(values=_of_lightgbm(last, rows), in_float=False)
        except (xgboost.core.XGBoostError, lightgbm.basic.LightGBMError):
            return None


def _of_xgboost(model: xgboost.Booster | xgboost.XGBModel, rows: Any) -> _Numbers:
    if isinstance(model, xgboost.Booster):
        found = model.predict(to_dmatrix(model, rows), pred_contribs=True)
    else:
        try:
            trees = (0, int(model.best_iteration) + 1)
        except AttributeError:  # it did not stop early
            trees = (0, 0)
        matrix = xgboost.DMatrix(rows, missing=model.missing, enable_categorical=True)
        found = model.get_booster().predict(
            matrix, pred_contribs=True, iteration_range=trees, validate_features=False
        )
    contributions = np.asarray(found, np.float64)
    return contributions.reshape(len(contributions), -1, contributions.shape[-1])


def _of_lightgbm(model: lightgbm.Booster | lightgbm.LGBMModel, rows: Any) -> _Numbers:
    dense = rows.toarray() if hasattr(rows, "toarray") else rows
    width = model.num_feature() if isinstance(model, lightgbm.Booster) else int(model.n_features_)
    found = np.asarray(model.predict(dense, pred_contrib=True), np.float64)
    return found.reshape(len(found), -1, width + 1)
