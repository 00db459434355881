from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorewire_contract.coding import CodedRows, RowCoder
from scorewire_contract.folding import ascii_lower_strip
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, schema_pb2

NAN = math.nan


def _schema(*kinds: str, **limits: Any) -> schema_pb2.Schema:
    """A schema of features n0, t1, ... that allow everything; `kinds` has n for a number and t for a text."""
    schema = schema_pb2.Schema()
    for i, kind in enumerate(kinds):
        if kind == "number":
            schema.features.add(
                name=f"n{i}",
                kind=schema_pb2.FEATURE_KIND_NUMBER,
                missing_allowed=True,
                magnitude_limit=limits.get("magnitude_limit", math.inf),
            )
        else:
            schema.features.add(
                name=f"t{i}", kind=schema_pb2.FEATURE_KIND_TEXT, missing_allowed=True, unknown_allowed=True
            )
    return schema


def _mixed_coding() -> manifest_pb2.Coding:
    """A coding with four columns: second number, first text coded, first number, second text coded."""
    coding = manifest_pb2.Coding()
    coding.vocabularies.add(
        text=0, fold=manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP, texts=["", "android", "ios"]
    )
    coding.vocabularies.add(text=1, fold=manifest_pb2.TEXT_FOLD_NONE, texts=["de", "pe"])
    graph_input = coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    graph_input.columns.add(number=1)
    first = graph_input.columns.add().coded
    first.values.extend([0.5, 1.5, 2.5])
    first.unknown_value = -1
    graph_input.columns.add(number=0)
    second = graph_input.columns.add().coded
    second.vocabulary = 1
    second.values.extend([10, 20])
    second.unknown_value = NAN
    return coding


def _code(coder: RowCoder, numbers: list[float], texts: list[str]) -> CodedRows:
    return coder.code(len(numbers) // max(coder.number_count, 1), np.array(numbers, dtype=float), texts)


def test_numbers_and_texts_land_in_their_columns() -> None:
    coder = RowCoder(_schema("number", "text", "number", "text"), _mixed_coding())
    coded = _code(coder, [1, 2, 3, NAN], [" iOS", "pe", "beos", "PE"])
    np.testing.assert_array_equal(coded.feeds["features"], [[2, 2.5, 1, 20], [NAN, -1, 3, NAN]])
    assert coded.feeds["features"].dtype == np.float64
    assert coded.kept is None
    assert coded.errors == []


def test_missing_text_is_looked_up_as_the_empty_text() -> None:
    coder = RowCoder(_schema("number", "text", "number", "text"), _mixed_coding())
    coded = _code(coder, [0, 0], ["", ""])
    assert coded.feeds["features"][0, 1] == 0.5
    assert math.isnan(coded.feeds["features"][0, 3])


def test_numbers_in_schema_order_are_cast_to_the_type_of_the_graph() -> None:
    coding = manifest_pb2.Coding()
    graph_input = coding.inputs.add(name="x", type=manifest_pb2.ELEMENT_TYPE_FLOAT)
    graph_input.columns.add(number=0)
    graph_input.columns.add(number=1)
    coded = _code(RowCoder(_schema("number", "number"), coding), [0.1, 2**24 + 1, 1e300, -NAN], [])
    assert coded.feeds["x"].dtype == np.float32
    np.testing.assert_array_equal(coded.feeds["x"], [[np.float32(0.1), 2**24], [math.inf, NAN]])


def test_text_tensors_carry_folded_texts_row_by_row() -> None:
    coding = manifest_pb2.Coding()
    graph_input = coding.inputs.add(name="words", type=manifest_pb2.ELEMENT_TYPE_STRING)
    graph_input.columns.add().text.text = 1
    graph_input.columns.add().text.text = 0
    graph_input.columns[0].text.fold = manifest_pb2.TEXT_FOLD_NONE
    graph_input.columns[1].text.fold = manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP
    coder = RowCoder(_schema("text", "text"), coding)
    coded = coder.code(2, np.empty(0), ["A ", "B", "C", "D"])
    assert coded.feeds["words"].tolist() == [["B", "a"], ["D", "c"]]


def test_bad_rows_are_left_out_with_the_first_bad_feature_in_schema_order() -> None:
    schema = _schema("number", "text", "number", "text")
    schema.features[1].unknown_allowed = False
    schema.features[2].missing_allowed = False
    schema.features[2].magnitude_limit = 100
    schema.features[3].missing_allowed = False
    coded = _code(
        RowCoder(schema, _mixed_coding()),
        [1, 2, 1, NAN, 1, -101, 1, NAN, 1, 2, 1, 2],
        ["ios", "de", "ios", "de", "ios", "de", "beos", "", "ios", "", "", "zz"],
    )
    assert [(e.row, e.reason, e.feature) for e in coded.errors] == [
        (1, errors_pb2.ERROR_REASON_MISSING_VALUE, "n2"),
        (2, errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, "n2"),
        (3, errors_pb2.ERROR_REASON_UNKNOWN_TEXT, "t1"),
        (4, errors_pb2.ERROR_REASON_MISSING_VALUE, "t3"),
    ]
    assert coded.kept is not None
    assert coded.kept.tolist() == [0, 5]
    np.testing.assert_array_equal(coded.feeds["features"], [[2, 2.5, 1, 10], [2, 0.5, 1, NAN]])


def test_bad_rows_are_left_out_of_text_tensors_too() -> None:
    schema = _schema("text", "text")
    schema.features[1].missing_allowed = False
    coding = manifest_pb2.Coding()
    graph_input = coding.inputs.add(name="words", type=manifest_pb2.ELEMENT_TYPE_STRING)
    graph_input.columns.add().text.fold = manifest_pb2.TEXT_FOLD_NONE
    coded = RowCoder(schema, coding).code(3, np.empty(0), ["a", "x", "b", "", "c", "z"])
    assert coded.feeds["words"].tolist() == [["a"], ["c"]]


def test_infinity_is_out_of_range_only_where_there_is_a_limit() -> None:
    coding = manifest_pb2.Coding()
    coding.inputs.add(name="x", type=manifest_pb2.ELEMENT_TYPE_DOUBLE).columns.add(number=0)
    assert not _code(RowCoder(_schema("number"), coding), [math.inf, -math.inf], []).errors
    limited = RowCoder(_schema("number", magnitude_limit=1.7976931348623157e308), coding)
    assert [e.row for e in _code(limited, [math.inf, 1e308, NAN, -math.inf], []).errors] == [0, 3]


def _broken(change: str) -> manifest_pb2.Coding:
    coding = _mixed_coding()
    columns = coding.inputs[0].columns
    if change == "number":
        columns[0].number = 2
    elif change == "vocabulary":
        columns[1].coded.vocabulary = 2
    elif change == "values":
        columns[1].coded.values.pop()
    elif change == "text":
        coding.vocabularies[0].text = 2
    elif change == "fold":
        coding.vocabularies[0].fold = manifest_pb2.TEXT_FOLD_UNSPECIFIED
    elif change == "repeat":
        coding.vocabularies[0].texts[0] = "ios"
    elif change == "type":
        coding.inputs[0].type = manifest_pb2.ELEMENT_TYPE_STRING
    else:
        columns[0].ClearField("number")
    return coding


@pytest.mark.parametrize(
    "change", ["number", "vocabulary", "values", "text", "fold", "repeat", "type", "sourceless"]
)
def test_contradicting_codings_are_refused(change: str) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|column|fold|texts|input"):
        RowCoder(_schema("number", "text", "number", "text"), _broken(change))


@given(st.text())
def test_folding_changes_ascii_only(text: str) -> None:
    folded = ascii_lower_strip(text)
    assert ascii_lower_strip(folded) == folded
    assert not any("A" <= letter <= "Z" for letter in folded)
    assert [c for c in folded if ord(c) > 127] == [c for c in text if ord(c) > 127]


@given(
    st.lists(st.tuples(st.floats(), st.floats(), st.text(max_size=3), st.sampled_from(["de", "pe", "", "x"])))
)
def test_coding_a_batch_equals_coding_its_rows(rows: list[tuple[float, float, str, str]]) -> None:
    schema = _schema("number", "text", "number", "text", magnitude_limit=1e6)
    schema.features[3].unknown_allowed = False
    coder = RowCoder(schema, _mixed_coding())
    numbers = np.array([[a, b] for a, b, _, _ in rows], dtype=float).reshape(-1)
    batch = coder.code(len(rows), numbers, [text for _, _, *texts in rows for text in texts])
    singles = [coder.code(1, np.array([a, b]), [s, t]) for a, b, s, t in rows]
    feeds = [single.feeds["features"] for single in singles]
    np.testing.assert_array_equal(
        batch.feeds["features"], np.concatenate(feeds) if feeds else np.empty((0, 4))
    )
    assert [(e.row, e.message) for e in batch.errors] == [
        (row, e.message) for row, single in enumerate(singles) for e in single.errors
    ]


def whole_coder(element: int, *, dims: tuple[int, ...] | None = None) -> RowCoder:
    """A coder with a tensor of two whole numbers."""
    schema, coding = schema_pb2.Schema(), manifest_pb2.Coding()
    for name in ("a", "b"):
        schema.features.add(
            name=name, kind=schema_pb2.FEATURE_KIND_NUMBER, whole=True, magnitude_limit=math.inf
        )
    part = coding.inputs.add(name="x", type=manifest_pb2.ElementType.ValueType(element))
    for i in range(2):
        part.columns.add(number=i)
    if dims is not None:
        part.shape.dims.extend(dims)
    return RowCoder(schema, coding)


@pytest.mark.parametrize(
    ("low", "high", "inside", "outside", "told"),
    [
        (math.nextafter(-1.0, 0.0), None, [-0.5, math.inf], [-1.0, -math.inf], "numbers above -1"),
        (5e-324, None, [5e-324], [0.0, -0.0, -1.0], "numbers above 0"),
        (0.0, 1e300, [-0.0, 1e300], [-5e-324, math.inf], "numbers from 0 and up to 1e+300"),
        (None, 709.5, [-math.inf, 709.5], [709.6], "numbers up to 709.5"),
        (-3.0, 3.0, [3.0, -3.0], [3.5, -3.5], "magnitudes up to 3"),
        (-3.0, 4.0, [4.0, -3.0], [4.5, -3.5], "-3 to 4"),
    ],
)
def test_numbers_outside_a_features_limits_cost_their_rows(
    low: float | None, high: float | None, inside: list[float], outside: list[float], told: str
) -> None:
    schema = _schema("number")
    if low is not None:
        schema.features[0].lower_limit = low
    if high is not None:
        schema.features[0].upper_limit = high
    coding = manifest_pb2.Coding()
    coding.inputs.add(name="x", type=manifest_pb2.ELEMENT_TYPE_DOUBLE).columns.add(number=0)
    numbers = [*inside, *outside, NAN]
    errors = _code(RowCoder(schema, coding), numbers, []).errors
    assert [error.row for error in errors] == list(range(len(inside), len(inside) + len(outside)))
    assert {(error.reason, error.message) for error in errors} == {
        (errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, f"n0 is out of range: this model takes {told}")
    }
    if low is not None and high is not None:
        schema.features[0].lower_limit, schema.features[0].upper_limit = high, low
        with pytest.raises(ValueError, match="no number between"):
            RowCoder(schema, coding)


@pytest.mark.parametrize(
    ("element", "dtype", "low", "high"),
    [
        (manifest_pb2.ELEMENT_TYPE_INT8, np.int8, -128, 127),
        (manifest_pb2.ELEMENT_TYPE_UINT8, np.uint8, 0, 255),
        (manifest_pb2.ELEMENT_TYPE_INT32, np.int32, -(2**31), 2**31 - 1),
        (manifest_pb2.ELEMENT_TYPE_INT64, np.int64, -(2**53), 2**53),
        (manifest_pb2.ELEMENT_TYPE_UINT64, np.uint64, 0, 2**53),
        (manifest_pb2.ELEMENT_TYPE_BOOL, np.bool_, 0, 1),
    ],
)
def test_whole_numbers_are_fed_as_their_type_and_refused_beyond_it(
    element: int, dtype: type[np.generic], low: int, high: int
) -> None:
    coder = whole_coder(element)
    coded = coder.code(1, np.array([low, high], dtype=np.float64), [])
    assert coded.errors == []
    assert coded.feeds["x"].dtype == dtype
    assert coded.feeds["x"].tolist() == [[low, high]]
    beyond = [np.nextafter(high, np.inf) if high >= 2**53 else high + 1, np.inf, -np.inf]
    for number in [*beyond, np.nextafter(low, -np.inf) if low <= -(2**53) else low - 1]:
        (error,) = coder.code(1, np.array([0, number]), []).errors
        assert (error.reason, error.feature) == (errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, "b")


def test_a_number_that_is_not_whole_or_missing_costs_its_row_alone() -> None:
    numbers = np.array([[1, 2], [0.5, 1], [3, 4], [1, math.nan]])
    coded = whole_coder(manifest_pb2.ELEMENT_TYPE_INT16).code(4, numbers.ravel(), [])
    assert [(error.row, error.reason, error.message) for error in coded.errors] == [
        (1, errors_pb2.ERROR_REASON_NUMBER_NOT_WHOLE, "a is not a whole number"),
        (3, errors_pb2.ERROR_REASON_MISSING_VALUE, "b is missing"),
    ]
    assert coded.feeds["x"].tolist() == [[1, 2], [3, 4]]


def test_a_range_with_unlike_ends_is_told() -> None:
    (error,) = whole_coder(manifest_pb2.ELEMENT_TYPE_UINT8).code(1, np.array([0.0, -1.0]), []).errors
    assert error.message == "b is out of range: this model takes 0 to 255"


def test_a_tensor_may_have_a_shape_of_its_own() -> None:
    coder = whole_coder(manifest_pb2.ELEMENT_TYPE_INT32, dims=(1, 2, 1))
    assert coder.code(3, np.arange(6.0), []).feeds["x"].shape == (3, 1, 2, 1)
    with pytest.raises(ValueError, match="2 columns for rows of"):
        whole_coder(manifest_pb2.ELEMENT_TYPE_INT32, dims=(3,))
