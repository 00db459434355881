from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBRegressor

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.export.lowering.sample_columns import match_sample
from scorewire_training.export.lowering.symbolic_columns import RawNumber, RawText
from tests.scorewire_training.export.lowering.scored import NUMBERS, build_frame, check_same


def fitted(frame: pd.DataFrame) -> LinearRegression:
    return LinearRegression().fit(frame, frame.iloc[:, 0])


def test_kinds_follow_dtypes() -> None:
    frame = pd.DataFrame(
        {
            "float": [0.5, np.nan],
            "int": [1, 2],
            "bool": [True, False],
            "nullable": pd.array([1, None], dtype="Int64"),
            "object numbers": pd.Series([1, 2.5], dtype=object),
            "numeric category": pd.Categorical([3, 4]),
            "object": pd.Series(["a", None], dtype=object),
            "str": pd.Series(["a", None], dtype="str"),
            "category": pd.Categorical(["a", None]),
            "all missing": pd.Series([None, None], dtype=object),
        }
    )
    read = match_sample(object(), frame)
    numbers = [name for name, kind in read.features if kind == schema_pb2.FEATURE_KIND_NUMBER]
    assert numbers == ["float", "int", "bool", "nullable", "object numbers", "numeric category"]
    assert [type(column) for column in read.inputs.columns] == [RawNumber] * 6 + [RawText] * 4
    assert read.spellings["object"] == (None,)
    # NaN, or None before pandas 3.
    assert all(pd.isna(value) for value in read.spellings["str"])
    assert read.categories == {"numeric category": (3, 4), "category": ("a",)}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])), "datetime64"),
        (pd.Series(["a", 1], dtype=object), "holds number and text"),
        (pd.Series([{"a": 1}, {}], dtype=object), "values of type dict"),
    ],
    ids=["dates", "mixed", "objects"],
)
def test_column_that_is_neither_number_nor_text_is_refused_where_it_is_read(
    column: pd.Series[Any], reason: str
) -> None:
    sample = match_sample(object(), pd.DataFrame({"when": column}))
    assert sample.features == ()
    with pytest.raises(UnsupportedModelError, match=reason) as refusal:
        sample.inputs.check_usable()
    assert "before the model is fitted" in refusal.value.way_out


def test_sample_must_be_a_frame_with_rows() -> None:
    frame = build_frame()[NUMBERS]
    with pytest.raises(UnsupportedModelError, match="not a DataFrame"):
        lower(fitted(frame), frame.iloc[:0])


def test_missing_column_is_named() -> None:
    frame = build_frame()[NUMBERS]
    with pytest.raises(UnsupportedModelError, match="lacks 'ratio'"):
        lower(fitted(frame), frame.drop(columns="ratio"))


def test_columns_that_the_model_does_not_take_are_no_features() -> None:
    frame = build_frame()[NUMBERS]
    lowered = lower(fitted(frame), frame.assign(other="x"))
    assert [name for name, _ in lowered.features] == NUMBERS


def test_repeated_column_is_refused() -> None:
    frame = build_frame()[NUMBERS]
    with pytest.raises(UnsupportedModelError, match="one name"):
        lower(fitted(frame), pd.concat([frame, frame], axis=1))


def test_model_fitted_without_names_takes_columns_by_position() -> None:
    frame = build_frame()[NUMBERS]
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(frame.to_numpy(), frame["amount"])
    lowered = lower(model, frame)
    assert [name for name, _ in lowered.features] == NUMBERS
    with pytest.raises(UnsupportedModelError, match="4 columns without names, the sample has 3"):
        lower(model, frame[NUMBERS[:3]])


@pytest.mark.parametrize(
    "model",
    [
        XGBRegressor(n_jobs=1, n_estimators=3),
        LGBMRegressor(n_jobs=1, n_estimators=3, verbose=-1),
        LinearRegression(),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore:Found whitespace in feature_names")
def test_names_that_libraries_rewrite_are_found_again(model: Any) -> None:
    frame = build_frame()[NUMBERS]
    y = frame["amount"]
    for names in (["a b", "c d", "e", "f"], ["0", "1", "2", "3"]):
        named = frame.set_axis(names, axis=1)
        lowered = check_same(model.fit(named, y), named)
        assert [name for name, _ in lowered.features] == names
    numbered = frame.set_axis(range(4), axis=1)
    lowered = lower(model.fit(numbered, y), numbered)
    assert [name for name, _ in lowered.features] == ["0", "1", "2", "3"]
    assert len(lower(model.fit(frame.to_numpy(), y), frame).features) == 4


def test_wrapped_pipeline_finds_its_columns_by_name() -> None:
    frame = build_frame()
    columns = ColumnTransformer([("s", StandardScaler(), ["ratio", "big"])])
    model = TransformedTargetRegressor(make_pipeline(columns, LinearRegression()))
    check_same(model.fit(frame, frame["amount"]), frame[frame.columns[::-1]])


def test_object_that_is_no_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no faithful translation"):
        lower(object(), build_frame()[NUMBERS])
