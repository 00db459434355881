from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from xgboost import XGBRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    TEXTS,
    build_frame,
    check_same,
    hard_rows,
    target,
    with_holes,
)

CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)

COLUMNS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "names": ([("a", StandardScaler(), ["amount", "ratio"]), ("b", CODES, ["country"])], {}),
    "indices": ([("a", StandardScaler(), [1, 0]), ("b", CODES, [-2])], {}),
    "slices": ([("a", StandardScaler(), slice(0, 2)), ("b", CODES, slice("country", "platform"))], {}),
    "mask": ([("a", StandardScaler(), [True, False, True, False, False, False]), ("b", CODES, [4])], {}),
    "callable": ([("b", CODES, lambda frame: frame.columns[-2:])], {}),
    "selector": (
        [
            ("a", StandardScaler(), make_column_selector(dtype_include=np.number)),
            ("b", CODES, make_column_selector(dtype_exclude=np.number)),
        ],
        {},
    ),
    "remainder passed": ([("b", CODES, ["platform", "country"])], {"remainder": "passthrough"}),
    "remainder estimated": ([("b", CODES, TEXTS)], {"remainder": StandardScaler()}),
    "dropped": ([("a", "drop", ["ratio"]), ("b", CODES, TEXTS), ("c", "passthrough", [2])], {}),
    "nothing selected": ([("a", StandardScaler(), []), ("b", CODES, TEXTS)], {}),
    "used twice": (
        [("a", StandardScaler(), ["amount"]), ("c", "passthrough", ["amount"]), ("b", CODES, TEXTS)],
        {},
    ),
}


@pytest.mark.parametrize(("transformers", "options"), COLUMNS.values(), ids=COLUMNS.keys())
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_columns_are_selected_as_the_fitted_transformer_does(
    transformers: list[Any], options: dict[str, Any], output: str
) -> None:
    frame = build_frame()
    columns = ColumnTransformer(transformers, **options).set_output(transform=output)
    pipeline = Pipeline([("columns", columns), ("idle", "passthrough"), ("model", Ridge())])
    check_same(pipeline.fit(frame, target(frame)), hard_rows(frame, holes=False), sample=frame)


def test_only_columns_of_the_model_are_features() -> None:
    frame = build_frame()
    pipeline = make_pipeline(ColumnTransformer([("b", CODES, TEXTS)], remainder="passthrough"), Ridge())
    pipeline.fit(frame, target(frame))
    lowered = lower(pipeline, frame.assign(other=1.0))
    assert [name for name, _ in lowered.features] == list(frame.columns)


def test_columns_that_no_step_reads_are_no_features() -> None:
    frame = build_frame()
    frame.insert(1, "bought", pd.Timestamp("2024-02-29"))
    chosen = ColumnTransformer(
        [("a", "drop", ["bought"]), ("b", CODES, TEXTS), ("c", "passthrough", ["amount"])]
    )
    pipeline = make_pipeline("passthrough", chosen, Ridge()).fit(frame, target(frame))
    lowered = check_same(pipeline, frame)
    assert [name for name, _ in lowered.features] == ["amount", *TEXTS]
    assert set(lowered.known_texts) == set(lowered.missing_texts) == set(TEXTS)


def test_dates_that_a_step_reads_are_refused() -> None:
    frame = build_frame().assign(bought=pd.Timestamp("2024-02-29"))
    for kept in (StandardScaler(), "passthrough"):
        chosen = ColumnTransformer([("b", CODES, TEXTS), ("c", kept, ["bought"])])
        columns = chosen.fit(frame.assign(bought=1.0))
        model = Ridge().fit(columns.transform(frame.assign(bought=1.0)), target(frame))
        with pytest.raises(UnsupportedModelError, match="column 'bought' is of type datetime64"):
            lower(Pipeline([("columns", columns), ("model", model)]), frame)


def test_column_transformer_finds_columns_in_any_order() -> None:
    frame = build_frame()
    pipeline = make_pipeline(ColumnTransformer([("b", CODES, TEXTS)], remainder="passthrough"), Ridge())
    pipeline.fit(frame, target(frame))
    backwards = frame[frame.columns[::-1]]
    lowered = check_same(pipeline, backwards)
    assert [name for name, _ in lowered.features] == list(backwards.columns)


def test_nested_transformers() -> None:
    frame = build_frame()
    inner = ColumnTransformer([("s", StandardScaler(), ["amount"])], remainder="passthrough")
    both = FeatureUnion([("one", inner), ("two", make_pipeline(StandardScaler(), "passthrough"))])
    columns = ColumnTransformer([("n", both, NUMBERS), ("t", CODES, TEXTS)])
    check_same(
        make_pipeline(columns, XGBRegressor(n_jobs=1, n_estimators=5)).fit(frame, target(frame)), frame
    )


def test_zeros_that_a_sparse_matrix_leaves_out_are_missing_to_xgboost() -> None:
    frame = with_holes(build_frame())
    frame.loc[::3, "amount"] = 0.0
    columns = ColumnTransformer(
        [("n", MaxAbsScaler(), NUMBERS), ("t", OneHotEncoder(handle_unknown="ignore"), TEXTS)],
        sparse_threshold=1.0,
    )
    for model in (
        XGBRegressor(n_jobs=1, n_estimators=10),
        LGBMRegressor(n_jobs=1, n_estimators=10, verbose=-1),
    ):
        pipeline = make_pipeline(columns, model).fit(frame, target(frame))
        assert pipeline[0].sparse_output_
        check_same(pipeline, hard_rows(frame, holes=True), sample=frame)


def test_sparse_one_hot_alone_before_xgboost() -> None:
    frame = build_frame()[TEXTS]
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), XGBRegressor(n_jobs=1, n_estimators=10))
    pipeline.fit(frame, target(build_frame()))
    check_same(pipeline, hard_rows(frame, holes=False), sample=frame)


def test_sparse_scaler_rounds_by_the_reciprocal() -> None:
    frame = build_frame()
    columns = ColumnTransformer(
        [("n", "passthrough", NUMBERS), ("t", OneHotEncoder(handle_unknown="ignore"), TEXTS)],
        sparse_threshold=1.0,
    )
    pipeline = make_pipeline(
        columns, StandardScaler(with_mean=False), XGBRegressor(n_jobs=1, n_estimators=10)
    )
    check_same(pipeline.fit(frame, target(frame)), frame)


class _Doubler(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    def fit(self, X: pd.DataFrame, y: object = None) -> _Doubler:  # noqa: ARG002 - scikit-learn's signature
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        return X * 2


class _Shifted(StandardScaler):  # type: ignore[misc]  # scikit-learn ships no types
    def transform(self, X: pd.DataFrame, copy: bool | None = None) -> Any:
        return super().transform(X, copy=copy) + 1


@pytest.mark.parametrize("step", [_Doubler(), _Shifted()])
def test_unknown_step_is_refused_by_name(step: Any) -> None:
    frame = build_frame()[NUMBERS]
    pipeline = make_pipeline(step, Ridge()).fit(frame, frame["amount"])
    with pytest.raises(UnsupportedModelError, match=type(step).__name__) as refusal:
        lower(pipeline, frame)
    assert "scorewire_training.estimators" in refusal.value.way_out


def test_text_that_no_step_encodes_is_refused() -> None:
    frame = build_frame()
    pipeline = make_pipeline(ColumnTransformer([("n", "passthrough", NUMBERS)]), Ridge())
    pipeline.fit(frame, target(frame))
    check_same(pipeline, frame)
    frame["country"] = frame["ratio"].astype(str)
    bare = make_pipeline(FunctionTransformer(), LinearRegression()).fit(
        frame[["amount", "country"]], target(frame)
    )
    with pytest.raises(UnsupportedModelError, match="'country'"):
        lower(bare, frame[["amount", "country"]])


@pytest.mark.parametrize("model", [Ridge(), make_pipeline(StandardScaler(), Ridge())])
def test_a_model_that_was_not_fitted_is_said_to_be_so(model: Any) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        lower(model, build_frame()[NUMBERS])
