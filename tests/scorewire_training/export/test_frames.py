from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.frames import FrameCodec, WireRows, concatenate

NUMBER, TEXT = schema_pb2.FEATURE_KIND_NUMBER, schema_pb2.FEATURE_KIND_TEXT


def _codec(
    column: pd.Series[Any], kind: int = NUMBER, missing: object = "", coded: tuple[str, ...] = ()
) -> FrameCodec:
    return FrameCodec(pd.DataFrame({"x": column}), [("x", kind)], {"x": missing}, coded)


def _numbers(*values: float) -> WireRows:
    return WireRows(np.array(values).reshape(-1, 1), np.empty((len(values), 0), dtype=object))


def _texts(*values: str) -> WireRows:
    return WireRows(np.empty((len(values), 0)), np.array(values, dtype=object).reshape(-1, 1))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, -2, 3], dtype="int64"),
        pd.Series([1, 2, 3], dtype="uint8"),
        pd.Series([0.5, np.nan, -0.0], dtype="float64"),
        pd.Series([0.5, np.nan, 3], dtype="float32"),
        pd.Series([True, False, True]),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1.5, None, 3], dtype="Float64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(pd.Categorical([30, 10, None], categories=[10, 20, 30])),
    ],
    ids=lambda column: str(column.dtype),
)
def test_numbers_come_back_with_their_dtype(column: pd.Series[Any]) -> None:
    codec = _codec(column)
    frame = pd.DataFrame({"x": column})
    pd.testing.assert_frame_equal(codec.to_frame(codec.to_rows(frame)), frame)


@pytest.mark.parametrize(
    "column", [pd.Series([1, 2]), pd.Series([True, False]), pd.Series([1, 2], dtype="i1")]
)
@pytest.mark.parametrize("value", [np.nan, 0.5, np.inf, 1e30])
def test_what_a_dtype_cannot_hold_makes_a_column_of_doubles(column: pd.Series[Any], value: float) -> None:
    frame = _codec(column).to_frame(_numbers(1.0, value))
    assert frame["x"].dtype == np.float64
    np.testing.assert_array_equal(frame["x"], [1.0, value])


def test_nullable_integers_take_a_missing_value_and_not_a_fraction() -> None:
    codec = _codec(pd.Series([1, 2], dtype="Int64"))
    assert codec.to_frame(_numbers(1.0, np.nan))["x"].dtype == "Int64"
    assert codec.to_frame(_numbers(1.0, 0.5))["x"].dtype == np.float64


def test_a_double_is_not_rounded_to_the_samples_float32() -> None:
    codec = _codec(pd.Series([1, 2], dtype="float32"))
    assert codec.to_frame(_numbers(0.1))["x"].tolist() == [0.1]
    assert codec.to_frame(_numbers(0.5))["x"].dtype == np.float32


def test_a_number_that_is_no_category_is_missing() -> None:
    codec = _codec(pd.Series(pd.Categorical([1, 2])))
    assert codec.to_frame(_numbers(2.0, 7.0, 1.5, np.nan))["x"].tolist()[0] == 2
    assert codec.to_frame(_numbers(2.0, 7.0, 1.5, np.nan))["x"].isna().tolist() == [False, True, True, True]


def test_numbers_in_an_object_column_are_numbers() -> None:
    codec = _codec(pd.Series([1, 2.5, None], dtype=object))
    rows = codec.to_rows(pd.DataFrame({"x": pd.Series([1, 2.5, None], dtype=object)}))
    np.testing.assert_array_equal(rows.numbers.ravel(), [1, 2.5, np.nan])
    assert codec.to_frame(rows)["x"].dtype == object


@pytest.mark.parametrize("dtype", [object, "str", "string"])
@pytest.mark.parametrize("missing", ["", None, np.nan])
def test_text_comes_back_with_its_dtype_and_its_missing_value(dtype: Any, missing: Any) -> None:
    column = pd.Series(["a", missing, " B"], dtype=dtype)
    codec = _codec(column, TEXT, missing)
    frame = pd.DataFrame({"x": column})
    rows = codec.to_rows(frame)
    assert rows.flat_texts() == ["a", "", " B"]
    pd.testing.assert_frame_equal(codec.to_frame(rows), frame)


def test_text_that_is_no_category_is_missing_for_a_model_that_takes_codes() -> None:
    column = pd.Series(pd.Categorical(["a", None, "b"]))
    codec = _codec(column, TEXT, None, ("x",))
    assert codec.to_rows(pd.DataFrame({"x": column})).flat_texts() == ["a", "", "b"]
    frame = codec.to_frame(_texts("b", "?", ""))
    assert frame["x"].dtype == column.dtype
    assert frame["x"].isna().tolist() == [False, True, True]


def test_text_that_is_no_category_is_a_text_for_a_model_that_takes_texts() -> None:
    column = pd.Series(pd.Categorical(["a", None, "b"]))
    frame = _codec(column, TEXT, None).to_frame(_texts("b", "?", "", "?"))
    assert isinstance(frame["x"].dtype, pd.CategoricalDtype)
    assert frame["x"].isna().tolist() == [False, False, True, False]
    assert frame["x"].dropna().tolist() == ["b", "?", "?"]
    # Otherwise the dtype is that of the sample.
    assert _codec(column, TEXT, None).to_frame(_texts("b", ""))["x"].dtype == column.dtype


def test_ignored_columns_keep_the_samples_first_value() -> None:
    sample = pd.DataFrame({"id": ["u1", "u2"], "x": [1.0, 2.0], "y": [3, 4]})
    codec = FrameCodec(sample, [("x", NUMBER)], {})
    frame = codec.to_frame(_numbers(5.0, 6.0, 7.0))
    assert list(frame.columns) == ["id", "x", "y"]
    assert frame["id"].tolist() == ["u1"] * 3
    assert frame["y"].dtype == sample["y"].dtype


def test_integers_that_doubles_cannot_hold_are_refused() -> None:
    _codec(pd.Series([2**53]))
    with pytest.raises(ExportError, match="'x' has integers beyond 2"):
        _codec(pd.Series([2**53 + 1]))


def test_columns_that_are_neither_numbers_nor_text_are_refused() -> None:
    with pytest.raises(ExportError, match="neither numbers nor text"):
        _codec(pd.Series(pd.to_datetime(["2024-01-01"])))
    with pytest.raises(ExportError, match=r"is sparse: pass it dense"):
        _codec(pd.Series([0.0, 1.0], dtype=pd.SparseDtype("float64", 0.0)))
    with pytest.raises(ExportError, match="mixes text with 3 of type int"):
        _codec(pd.Series(["a", 3], dtype=object), TEXT)


def test_rows_are_taken_and_put_together() -> None:
    rows = concatenate([_numbers(1, 2), _numbers(3)])
    assert len(rows) == 3
    assert rows.take([2, 0]).numbers.ravel().tolist() == [3, 1]
    taken = rows.take(slice(1, None))
    taken.numbers[:] = 0
    assert rows.numbers.ravel().tolist() == [1, 2, 3]
