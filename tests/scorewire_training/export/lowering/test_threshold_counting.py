"""Trees and bins behind functions of one column, at exactly the numbers where the result changes."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import LoweredModel, lower
from tests.scorewire_training.export.lowering.scored import fitted_answers, score

# The libraries compute what they warn about.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def _frame(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "amount": rng.lognormal(3.0, 1.0, rows),
            "share": rng.random(rows) + 0.01,
            "count": rng.poisson(40.0, rows) + 1.0,
        }
    )


def _target(frame: pd.DataFrame) -> Any:
    filled = frame.fillna(1.0)
    noise = np.random.default_rng(6).normal(scale=0.3, size=len(frame))
    return np.log(filled["amount"].abs() + 0.1) + filled["share"] + np.sqrt(filled["count"]) / 3 + noise


def _turns(lowered: LoweredModel, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with one number at a threshold, or one step beside it."""
    parts = [frame]
    for feature, thresholds in lowered.thresholds.items():
        values = np.concatenate([thresholds, *(np.nextafter(thresholds, side) for side in (-np.inf, np.inf))])
        # The ends of a domain, which models may refuse, are not thresholds.
        low, high = lowered.domains.get(feature, (-1e12, 1e12))
        values = values[(values >= max(low, -1e12)) & (values <= min(high, 1e12))]
        rows = frame.iloc[np.arange(len(values)) % len(frame)].copy()
        rows[feature] = values
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _check(model: Any, frame: pd.DataFrame, further: pd.DataFrame | None = None) -> LoweredModel:
    """Compare the graph with the fitted model at the thresholds; equal leaves have equal bits."""
    lowered = _compare(model, frame, further)
    assert lowered.thresholds.keys() <= set(frame.columns)
    assert sum(map(len, lowered.thresholds.values())) > 20
    return lowered


def _compare(model: Any, frame: pd.DataFrame, further: pd.DataFrame | None = None) -> LoweredModel:
    lowered = lower(model, frame)
    rows = _turns(lowered, frame)
    if further is not None:
        rows = pd.concat([rows, further], ignore_index=True)
    found = score(lowered, rows)
    with np.errstate(all="ignore"):
        expected = fitted_answers(model, rows)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=name)
    return lowered


CHAINS: dict[str, Any] = {
    "log1p": FunctionTransformer(np.log1p),
    "log1p, validated": FunctionTransformer(np.log1p, np.expm1, validate=True, check_inverse=False),
    "log": FunctionTransformer(np.log),
    "log2": FunctionTransformer(np.log2),
    "log10": FunctionTransformer(np.log10),
    "cbrt": FunctionTransformer(np.cbrt),
    "exp, falling": make_pipeline(
        StandardScaler(), FunctionTransformer(np.negative), FunctionTransformer(np.exp)
    ),
    "expm1 of scaled": make_pipeline(MinMaxScaler(), FunctionTransformer(np.expm1)),
    "sqrt of log1p, scaled": make_pipeline(
        FunctionTransformer(np.log1p), FunctionTransformer(np.sqrt), RobustScaler()
    ),
    "Yeo-Johnson": PowerTransformer(),
    "Yeo-Johnson, not scaled": PowerTransformer(standardize=False),
    "Box-Cox": PowerTransformer("box-cox"),
    "quantiles": QuantileTransformer(n_quantiles=50),
    "quantiles, normal": QuantileTransformer(n_quantiles=50, output_distribution="normal"),
    "bins of log": make_pipeline(
        FunctionTransformer(np.log),
        KBinsDiscretizer(30, encode="ordinal", strategy="uniform"),
    ),
}
MODELS: dict[str, Any] = {
    "XGBoost": xgboost.XGBRegressor(n_estimators=10),
    "LightGBM": lightgbm.LGBMRegressor(n_estimators=10, verbose=-1, min_child_samples=5),
    "random forest": RandomForestRegressor(5, random_state=0),
    "gradient boosting": GradientBoostingRegressor(n_estimators=10, random_state=0),
    "HistGradientBoosting": HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=5),
}
# The last function is not monotone to the last bit.
OF_ALL_MODELS = ("log1p", "Yeo-Johnson", "quantiles, normal")


@pytest.mark.parametrize(
    ("chain", "model"),
    [
        *((chain, "XGBoost") for chain in CHAINS),
        *((chain, model) for chain in OF_ALL_MODELS for model in MODELS if model != "XGBoost"),
    ],
)
def test_trees_behind_functions_turn_at_the_same_numbers(chain: str, model: str) -> None:
    frame = _frame()
    pipeline = make_pipeline(CHAINS[chain], MODELS[model]).fit(frame, _target(frame))
    lowered = _check(pipeline, frame)
    assert not {"Log", "Exp", "Sqrt"} & {node.op_type for node in lowered.graph.graph.node}


def test_what_a_function_is_not_defined_for_goes_where_missing_values_go() -> None:
    frame = _frame()
    frame.loc[::7, "amount"] = -frame["amount"]
    odd = frame.iloc[:8].copy()
    odd["amount"] = [-5.0, -1e300, np.nan, 0.0, -0.0, 5e-324, np.inf, -np.inf]
    for model in (xgboost.XGBRegressor(n_estimators=10), lightgbm.LGBMRegressor(n_estimators=10, verbose=-1)):
        with np.errstate(all="ignore"):
            pipeline = make_pipeline(FunctionTransformer(np.log), model).fit(frame, _target(frame))
        lowered = _check(pipeline, frame, odd)
        assert lowered.domains["amount"] == (5e-324, np.finfo(np.float64).max)


@pytest.mark.parametrize("before", [True, False])
def test_an_imputer_before_or_behind_a_function_fills_what_is_missing(before: bool) -> None:
    frame = _frame()
    frame.loc[::5, ["amount", "count"]] = np.nan
    odd = frame.iloc[:4].copy()
    odd["amount"] = [np.nan, -3.0, 1e300, 0.0]
    steps = [SimpleImputer(strategy="median", add_indicator=True), FunctionTransformer(np.log1p)]
    model = make_pipeline(*(steps if before else steps[::-1]), xgboost.XGBRegressor(n_estimators=10))
    with np.errstate(all="ignore"):
        _check(model.fit(frame, _target(frame)), frame, odd)


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBRegressor(n_estimators=10, missing=0.0),
        xgboost.XGBRegressor(n_estimators=10, missing=-1.0),
        xgboost.XGBRegressor(n_estimators=10, missing=2.0),
        lightgbm.LGBMRegressor(n_estimators=10, verbose=-1, zero_as_missing=True),
    ],
    ids=["0", "-1", "2", "zero as missing"],
)
def test_a_value_that_the_library_takes_for_missing_is_found_behind_a_function(model: Any) -> None:
    frame = _frame()
    frame.loc[::4, "amount"] = 0.0
    frame.loc[1::4, "amount"] = np.expm1(2.0)
    around = frame.iloc[:7].copy()
    two = float(np.expm1(2.0))
    around["amount"] = [0.0, -0.0, 1e-36, -1e-36, two, np.nextafter(two, 0.0), np.nextafter(two, 9.0)]
    _check(make_pipeline(FunctionTransformer(np.log1p), model).fit(frame, _target(frame)), frame, around)


def test_columns_without_functions_are_compared_as_they_came() -> None:
    frame = _frame()
    columns = make_column_transformer(
        (FunctionTransformer(np.log1p), ["count", "amount"]), remainder="passthrough"
    )
    classes = (_target(frame) > 4).astype(int)
    _check(make_pipeline(columns, ExtraTreesClassifier(5, random_state=0)).fit(frame, classes), frame)


def test_zeros_of_a_sparse_matrix_stay_missing_behind_a_function() -> None:
    frame = _frame()
    frame["amount"] = frame["amount"].where(frame["amount"] > 20.0, 0.0)
    frame["kind"] = np.arange(len(frame)) % 40
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        (FunctionTransformer(np.log1p), ["amount", "count", "share"]),
        sparse_threshold=1.0,
    )
    assert sparse.issparse(columns.fit_transform(frame))
    nearly = frame.iloc[:6].copy()
    nearly["amount"] = [0.0, -0.0, 5e-324, -5e-324, 1e-46, -1e-46]
    model = make_pipeline(columns, xgboost.XGBRegressor(n_estimators=10)).fit(frame, _target(frame))
    _check(model, frame, nearly)


def test_bins_behind_a_function_begin_at_the_same_numbers() -> None:
    frame = _frame()
    bins = KBinsDiscretizer(30, encode="onehot-dense", strategy="uniform")
    _check(make_pipeline(FunctionTransformer(np.log1p), bins, Ridge()).fit(frame, _target(frame)), frame)


def test_a_threshold_behind_a_function_is_met_at_the_same_number() -> None:
    frame = _frame()
    columns = make_column_transformer(
        (FunctionTransformer(np.log1p), ["amount", "count"]), remainder="passthrough"
    )
    model = make_pipeline(columns, Binarizer(threshold=3.1), Ridge()).fit(frame, _target(frame))
    lowered = lower(model, frame)
    assert [len(lowered.thresholds[name]) for name in ("amount", "count", "share")] == [2, 2, 1]
    rows = _turns(lowered, frame)
    np.testing.assert_allclose(score(lowered, rows)["value"][:, 0], model.predict(rows), rtol=1e-12)


@pytest.mark.parametrize(
    "model",
    [BernoulliNB(binarize=3.1), IsolationForest(n_estimators=10, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_other_models_behind_a_function_turn_at_the_same_numbers(model: Any) -> None:
    frame = _frame()
    target = _target(frame) > np.median(_target(frame))
    _compare(make_pipeline(FunctionTransformer(np.log1p), model).fit(frame, target.astype(int)), frame)


def test_a_threshold_behind_functions_and_words_is_met_at_the_same_number() -> None:
    rng = np.random.default_rng(7)
    frame = _frame().assign(note=[" ".join(rng.choice(["sea", "spa"], size=4)) for _ in range(300)])
    columns = make_column_transformer(
        (FunctionTransformer(np.log1p), ["amount", "count"]), (CountVectorizer(), "note")
    )
    model = make_pipeline(columns, Binarizer(threshold=2.5), Ridge()).fit(frame, _target(frame))
    lowered = _compare(model, frame)
    assert [len(lowered.thresholds[name]) for name in ("amount", "count")] == [2, 2]


def test_a_function_that_turns_is_refused_before_trees() -> None:
    frame = _frame() - 20.0
    steps = [FunctionTransformer(np.abs), FunctionTransformer(np.log1p), DecisionTreeRegressor()]
    model = make_pipeline(*steps).fit(frame, _target(frame))
    with pytest.raises(UnsupportedModelError, match="absolute, log1p makes of 'amount' neither only rises"):
        lower(model, frame)


def test_a_function_in_single_precision_is_refused_before_trees() -> None:
    frame = _frame().astype(np.float32)
    model = make_pipeline(FunctionTransformer(np.log1p), DecisionTreeRegressor()).fit(frame, _target(frame))
    with pytest.raises(UnsupportedModelError, match="'amount' is of type float32.*float64"):
        lower(model, frame)
