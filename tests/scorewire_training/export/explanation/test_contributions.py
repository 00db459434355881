"""Contributions of the caller's columns equal the Shapley values over all coalitions of these columns."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from scorewire_contract.bundle import read_bundle
from scorewire_training.export import ExportedBundle, export_bundle
from scorewire_training.export.explanation.library import library_contributions
from tests.families.contributions import compare
from tests.families.data import NUMBERS, Data, categories, make_data
from tests.families.ensembles import LIGHTGBM, XGBOOST
from tests.families.pipelines import ENCODED
from tests.families.running import Family
from tests.scorewire_training.export.explanation.brute_force import explain_by_definition
from tests.scorewire_training.export.explanation.explained import Explained, explain_rows

ROWS = 6
# The kernel keeps contributions of trees of up to six levels in float.
EXACT, IN_FLOAT = 1e-12, 5e-7
TEXTS = ["country", "platform"]


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data(400)


def one_hot(model: Any) -> Any:
    """A model after one-hot columns of the texts, which are several columns of one feature each."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        make_column_transformer((encoder, TEXTS), remainder="passthrough", sparse_threshold=0), model
    )


def target_encoded(model: Any) -> Any:
    """A model after a column of the texts' means for each of three classes."""
    return make_pipeline(
        make_column_transformer((TargetEncoder(random_state=0), TEXTS), remainder="passthrough"), model
    )


SMALL: dict[str, tuple[Any, str]] = {
    "XGBoost": (one_hot(xgboost.XGBClassifier(n_estimators=5, max_depth=5)), "two"),
    "XGBoost, three classes": (one_hot(xgboost.XGBClassifier(n_estimators=3, max_depth=4)), "three"),
    "LightGBM": (one_hot(lightgbm.LGBMRegressor(n_estimators=5, num_leaves=12, verbose=-1)), "value"),
    "LightGBM, slope": (one_hot(lightgbm.LGBMClassifier(n_estimators=4, sigmoid=2.0, verbose=-1)), "two"),
    "HistGradientBoosting": (target_encoded(ensemble.HistGradientBoostingClassifier(max_iter=3)), "three"),
    "random forest": (one_hot(ensemble.RandomForestClassifier(4, max_depth=5, random_state=0)), "three"),
    "random forest, two targets": (one_hot(ensemble.RandomForestRegressor(3, max_depth=5)), "pair"),
    "mean of forests": (
        one_hot(
            ensemble.VotingRegressor(
                [
                    ("one", ensemble.RandomForestRegressor(2, max_depth=4, random_state=0)),
                    ("two", xgboost.XGBRegressor(n_estimators=3, max_depth=3)),
                ],
                weights=[1, 3],
            )
        ),
        "value",
    ),
}


def exported(model: Any, frame: pd.DataFrame, target: NDArray[Any], folder: Path) -> ExportedBundle:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer releases warn of random_state
        model.fit(frame, target)
    return export_bundle(model, sample=frame, name="m", version="1.0.0", output_dir=folder)


def by_definition(path: Path, own: Explained) -> NDArray[np.float64]:
    bundle = read_bundle(path)
    return explain_by_definition(
        bundle.graph, own.message, [own.tensors[term.input] for term in own.message.trees], len(own.features)
    )


@pytest.mark.parametrize("is_plain", [False, True], ids=["kernel", "numpy"])
@pytest.mark.parametrize("name", SMALL)
def test_columns_of_one_feature_are_one_player(
    name: str, is_plain: bool, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_plain:
        monkeypatch.setitem(sys.modules, "scorewire_kernel", None)
    else:
        pytest.importorskip("scorewire_kernel")
    model, target = SMALL[name]
    path = exported(model, data.frame, data.targets[target], tmp_path).path
    (own,) = explain_rows(path, data.frame[:ROWS]).values()
    wanted = by_definition(path, own)
    sizes = np.abs(wanted).sum(axis=2, keepdims=True)
    assert (sizes > 0).all()
    assert (np.abs(own.values - wanted) <= (EXACT if is_plain else IN_FLOAT) * sizes).all()
    np.testing.assert_allclose(own.base + own.values.sum(axis=2), own.margins, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBClassifier(n_estimators=4, max_depth=4, enable_categorical=True, max_cat_to_onehot=1),
        lightgbm.LGBMClassifier(n_estimators=4, num_leaves=8, min_data_per_group=5, verbose=-1),
        ensemble.HistGradientBoostingClassifier(max_iter=4, categorical_features="from_dtype"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_splits_of_categories_are_explained(model: Any, data: Data, tmp_path: Path) -> None:
    frame = categories(data.frame)
    path = exported(model, frame, data.targets["two"], tmp_path).path
    (own,) = explain_rows(path, data.frame[:ROWS]).values()
    wanted = by_definition(path, own)
    place = own.features.index("country")
    assert np.abs(wanted[:, :, place]).max() > 0
    np.testing.assert_allclose(own.values, wanted, rtol=0, atol=IN_FLOAT * np.abs(wanted).max())


def test_one_hot_columns_are_not_added_up(data: Data, tmp_path: Path) -> None:
    """The library's contributions of one-hot columns are of another game; only the sums are the same."""
    model, target = SMALL["LightGBM"]
    path = exported(model, data.frame, data.targets[target], tmp_path).path
    (own,) = explain_rows(path, data.frame[:ROWS]).values()
    library = library_contributions(model, data.frame[:ROWS])
    assert library is not None
    term = own.message.trees[0]
    added = np.zeros((ROWS, len(own.features) + 1))
    np.add.at(added, (slice(None), list(term.features)), library.values[:, 0, :-1])
    np.testing.assert_allclose(library.values.sum(axis=2), own.margins, rtol=1e-12)
    assert np.abs(added[:, :-1] - own.values[:, 0]).max() > 1e-3 * np.abs(own.values).max()


@pytest.mark.parametrize("family", [*XGBOOST, *LIGHTGBM, *ENCODED], ids=lambda family: family.name)
def test_contributions_are_the_librarys(family: Family, data: Data) -> None:
    agreement = compare(family, data, 6)
    of_library = family.name.startswith(("XGBoost", "LightGBM")) and "linear_tree" not in family.name
    if of_library and family.name != "XGBoost two targets, one tree":
        assert agreement is not None
        assert agreement.compared
    if agreement is not None:
        assert agreement.rows == len(data.frame)
        assert agreement.holds, agreement


def test_linear_contributions_are_distances_from_the_mean(data: Data, tmp_path: Path) -> None:
    frame = data.frame[NUMBERS]
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    path = exported(model, frame, data.targets["three"], tmp_path).path
    (own,) = explain_rows(path, frame).values()
    x = model[:-1].transform(frame)
    wanted = (x - x.mean(axis=0))[:, np.newaxis, :] * model[-1].coef_
    np.testing.assert_allclose(own.values, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(own.base, (model[-1].intercept_ + x @ model[-1].coef_.T).mean(axis=0))
    np.testing.assert_allclose(own.margins, model.decision_function(frame))
