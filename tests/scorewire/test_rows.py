from __future__ import annotations

import decimal
import fractions
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire import Feature, FeatureKind, InvalidRowsError, Schema, UnimplementedError
from scorewire._rows import RowEncoder
from scorewire_proto.v1 import packed_pb2, prediction_pb2

MIXED = ("n1", "t1", "n2", "t2")


def schema(*names: str, required: tuple[str, ...] = ()) -> Schema:
    """A schema in which features that begin with n are numbers, and others texts."""
    kinds = {"n": FeatureKind.NUMBER, "t": FeatureKind.TEXT}
    features = tuple(
        Feature(name=name, kind=kinds[name[0]], missing_allowed=name not in required) for name in names
    )
    return Schema(features=features, outputs=(), fingerprint="f")


def encode(rows: Any, *names: str) -> tuple[int, list[float], list[str]]:
    """Parse rows as a server does: as the plain message, not as its twin."""
    packed = RowEncoder(schema(*(names or MIXED))).encode(rows).message()
    plain = prediction_pb2.Rows.FromString(packed.SerializeToString())
    return plain.row_count, list(plain.numbers), list(plain.texts)


def refusal(rows: Any, *names: str) -> InvalidRowsError:
    with pytest.raises(InvalidRowsError) as caught:
        encode(rows, *names)
    assert caught.value.reason == "INVALID_ROWS"
    assert caught.value.violations
    return caught.value


def same(left: list[float], right: list[float]) -> bool:
    return np.array_equal(np.array(left), np.array(right), equal_nan=True)


def test_a_dict_is_one_row_in_the_schemas_order() -> None:
    assert encode({"t2": "b", "n2": 2, "t1": "a", "n1": 1}) == (1, [1.0, 2.0], ["a", "b"])


def test_what_a_single_row_leaves_out_is_missing() -> None:
    count, numbers, texts = encode({"n2": 2})
    assert (count, texts) == (1, ["", ""])
    assert same(numbers, [math.nan, 2.0])


def test_a_batch_may_leave_out_values_and_not_whole_features() -> None:
    count, numbers, texts = encode([{"n1": 1, "t1": "a"}, {"n2": 2, "t2": "b"}])
    assert (count, texts) == (2, ["a", "", "", "b"])
    assert same(numbers, [1, math.nan, math.nan, 2])
    error = refusal([{"n1": 1, "t1": "a"}, {"n1": 2, "t1": "b"}])
    assert [violation.field for violation in error.violations] == ["rows.n2", "rows.t2"]
    assert "give it, as None where missing" in str(error)
    assert encode([{"n1": 1, "n2": None, "t1": "a", "t2": None}, {"n1": 1}])[0] == 2


def test_a_dict_without_a_required_feature_is_refused_as_a_frame_is() -> None:
    encoder = RowEncoder(schema(*MIXED, required=("n2", "t1")))
    refusals = []
    for rows in ({"n1": 1, "t2": "b"}, [{"n1": 1, "t2": "b"}], pd.DataFrame({"n1": [1], "t2": ["b"]})):
        with pytest.raises(InvalidRowsError) as caught:
            encoder.encode(rows)
        refusals.append((str(caught.value), caught.value.reason, caught.value.violations))
    assert refusals[0] == refusals[1] == refusals[2]
    assert refusals[0][0] == (
        "rows.t1: no row names this feature of the model: give it, as None where missing (and 1 more)"
    )
    assert encoder.encode({"n2": None, "t1": "a"}).texts == ["a", ""]


def test_each_row_of_a_batch_names_the_required_features() -> None:
    encoder = RowEncoder(schema(*MIXED, required=("n2", "t1")))
    rows = [{"n1": 1, "n2": 2, "t1": "a", "t2": "b"}, {"n1": 1, "n2": 2}]
    with pytest.raises(InvalidRowsError, match="the model requires it") as caught:
        encoder.encode(rows)
    assert [violation.field for violation in caught.value.violations] == ["rows[1].t1"]
    rows[1]["t1"] = "a"
    assert encoder.encode(rows).texts == ["a", "b", "a", ""]


def test_a_dict_that_makes_up_values_is_not_asked_for_them() -> None:
    row = defaultdict(lambda: 7.0, n1=1.0)
    assert same(encode(row, "n1", "n2")[1], [1, math.nan])
    assert set(row) == {"n1"}


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.nan, np.float32("nan"), pd.NA, pd.NaT, decimal.Decimal("nan")]
)
def test_values_that_say_missing_are_missing(missing: Any) -> None:
    count, numbers, texts = encode({"n1": missing, "t1": missing, "n2": 1, "t2": "x"})
    assert (count, texts) == (1, ["", "x"])
    assert same(numbers, [math.nan, 1])


@pytest.mark.parametrize(
    ("value", "double"),
    [
        (1, 1.0),
        (True, 1.0),
        (-0.0, -0.0),
        (math.inf, math.inf),
        (decimal.Decimal("-Infinity"), -math.inf),
        (np.float32("inf"), math.inf),
        (1e300, 1e300),
        (2**53, 2.0**53),
        (-(2**53), -(2.0**53)),
        (2.0**60, 2.0**60),
        (np.int8(-3), -3.0),
        (np.uint64(5), 5.0),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.bool_(True), 1.0),
        (decimal.Decimal("0.1"), 0.1),
        (fractions.Fraction(1, 4), 0.25),
    ],
)
def test_numbers_of_any_type_are_doubles(value: Any, double: float) -> None:
    for rows in ({"n": value}, [{"n": value}], np.array([[value]], dtype=object)):
        (found,) = encode(rows, "n")[1]
        assert found == double
        assert math.copysign(1, found) == math.copysign(1, double)


@pytest.mark.parametrize(
    "value", [fractions.Fraction(10**400), decimal.Decimal("1e999"), decimal.Decimal("-1e999")]
)
def test_a_number_beyond_every_double_is_refused(value: Any) -> None:
    error = refusal([{"n": 1}, {"n": value}], "n")
    assert [violation.field for violation in error.violations] == ["rows[1].n"]


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 10**400, np.int64(2**60), np.uint64(2**64 - 1)])
def test_integers_that_a_double_cannot_hold_are_refused(value: Any) -> None:
    for rows in (
        [{"n": 1}, {"n": value}],
        np.array([[1], [value]], dtype=object),
        pd.DataFrame({"n": pd.Series([1, value], dtype=object)}),
    ):
        error = refusal(rows, "n")
        assert [violation.field for violation in error.violations] == ["rows[1].n"]
        assert "does not hold the integer" in str(error)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "int64[pyarrow]"])
def test_integer_columns_are_held_to_the_same_limit(dtype: str) -> None:
    fine = pd.DataFrame({"n": pd.Series([2**53, 0], dtype=dtype)})
    assert encode(fine, "n")[1] == [2.0**53, 0.0]
    assert (
        refusal(pd.DataFrame({"n": pd.Series([0, 2**53 + 1], dtype=dtype)}), "n").violations[0].field
        == "rows[1].n"
    )


@pytest.mark.parametrize("value", ["1", "", b"1", [1], {}, 1j, object(), np.datetime64("2020-01-01")])
def test_what_is_no_number_is_refused_with_its_place(value: Any) -> None:
    rows = [{"n1": 1.0, "t1": "", "n2": 2.0, "t2": ""}, {"n1": 1, "n2": value}]
    error = refusal(rows)
    assert [violation.field for violation in error.violations] == ["rows[1].n2"]
    assert str(error).startswith("rows[1].n2: takes a number, not the ")


@pytest.mark.parametrize("value", [1, 1.5, True, b"pe", ["pe"], np.int64(3)])
def test_what_is_no_text_is_refused_with_its_place(value: Any) -> None:
    error = refusal([{"n1": 1, "t1": "a", "n2": 1, "t2": "b"}, {"t1": "a", "t2": value}])
    assert [violation.field for violation in error.violations] == ["rows[1].t2"]
    assert str(error).startswith("rows[1].t2: takes a text, not the ")


def test_text_with_lone_surrogates_is_refused() -> None:
    error = refusal([{"t": "fine"}, {"t": "\ud800"}], "t")
    assert str(error) == "rows[1].t: takes valid Unicode, and this text has lone surrogates"


def test_faults_are_listed_in_the_order_of_rows_and_capped() -> None:
    rows = [{"n1": "x", "n2": 1, "t1": 5, "t2": ""} for _ in range(30)]
    error = refusal(rows)
    assert len(error.violations) == 20
    fields = [violation.field for violation in error.violations[:4]]
    assert fields == ["rows[0].n1", "rows[0].t1", "rows[1].n1", "rows[1].t1"]
    assert str(error).endswith("(and 59 more)")


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(str(refusal({"n": "x" * 10_000}, "n"))) < 200


@pytest.mark.parametrize(
    "rows", [{"N1": 1}, [{"n1": 1, "N1": 1}], pd.DataFrame({"N1": [1], "n2": [1], "t1": [""], "t2": [""]})]
)
def test_a_name_that_is_no_feature_is_refused_with_the_nearest(rows: Any) -> None:
    error = refusal(rows)
    assert "'N1' is not a feature of this model; did you mean 'n1'?" in str(error)


def test_a_name_like_no_feature_is_refused_without_a_guess() -> None:
    assert str(refusal({"zzz": 1})) == "rows[0].zzz: 'zzz' is not a feature of this model"
    assert "7 is not a feature" in str(refusal({7: 1}))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows"),
        (np.empty((0, 4), dtype=object), "no rows"),
        (pd.DataFrame({name: [] for name in MIXED}), "no rows"),
        ("n1", "not str"),
        (7, "not int"),
        (None, "not NoneType"),
        (iter([{}]), "not list_iterator"),
        ([[1, 2]], "a row is a dict of features by name, not list"),
        (pd.Series({"n1": 1}), "row.to_dict()"),
        (np.array([1, "a", 2, "b"], dtype=object), "rows.reshape(1, -1)"),
        (np.zeros((1, 4, 1)), "two dimensions, not 3"),
        (np.empty((1, 3), dtype=object), "takes 4 columns, not 3: n1, t1, n2, t2"),
        (np.ones((1, 4)), "dtype object"),
    ],
)
def test_shapes_that_are_no_rows_are_refused(rows: Any, words: str) -> None:
    assert words in str(refusal(rows))


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, np.int32, np.uint8, np.bool_, ">f8", object]
)
def test_an_array_of_numbers_has_the_schemas_order(dtype: Any) -> None:
    rows = np.array([[1, 0], [0, 1], [1, 1]]).astype(dtype)
    assert encode(rows, "n1", "n2") == (3, [1, 0, 0, 1, 1, 1], [])


def test_an_array_need_not_be_contiguous() -> None:
    rows = np.arange(12.0).reshape(3, 4)
    assert encode(rows.T, "n1", "n2", "n3")[1] == rows.T.ravel().tolist()
    assert encode(rows[::-1, ::2], "n1", "n2")[1] == [8, 10, 4, 6, 0, 2]


def test_an_array_of_objects_takes_numbers_and_texts() -> None:
    rows = np.array([[1, "a", 2.5, None], [None, "c", True, "d"]], dtype=object)
    count, numbers, texts = encode(rows)
    assert (count, texts) == (2, ["a", "", "c", "d"])
    assert same(numbers, [1, 2.5, math.nan, 1])


def test_an_array_of_texts_fits_a_model_of_texts() -> None:
    assert encode(np.array([["a", "bc"], ["", "d"]]), "t1", "t2") == (2, [], ["a", "bc", "", "d"])


def test_masked_values_are_missing() -> None:
    rows = np.ma.MaskedArray([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]])
    assert same(encode(rows, "n1", "n2")[1], [1, math.nan, 3, 4])


@pytest.mark.parametrize(
    "rows", [np.array([["1"]]), np.array([[1j]]), np.array([["2020-01-01"]], dtype="M8[D]")]
)
def test_arrays_of_other_things_are_no_numbers(rows: Any) -> None:
    assert "holds no numbers" in str(refusal(rows, "n"))


def test_a_frame_is_read_by_name_in_any_order() -> None:
    frame = pd.DataFrame({"t2": ["b", "d"], "n2": [2, 4], "t1": ["a", "c"], "n1": [1.5, 3.5]}, index=[7, 7])
    assert encode(frame) == (2, [1.5, 2, 3.5, 4], ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "Int64", "Float64", "boolean", "object", "int64[pyarrow]", "double[pyarrow]"],
)
def test_frames_hold_missing_numbers_in_many_ways(dtype: str) -> None:
    frame = pd.DataFrame({"n": pd.Series([1, None, 0], dtype=dtype)})
    assert same(encode(frame, "n")[1], [1, math.nan, 0])


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category", "string[pyarrow]"])
def test_frames_hold_missing_texts_in_many_ways(dtype: str) -> None:
    frame = pd.DataFrame({"t": pd.Series(["a", None, "b"], dtype=dtype)})
    assert encode(frame, "t")[2] == ["a", "", "b"]


def test_numbers_kept_as_categories_are_numbers() -> None:
    frame = pd.DataFrame({"n": pd.Series([3, None, 1], dtype="category")})
    assert same(encode(frame, "n")[1], [3, math.nan, 1])


def test_a_frame_names_the_row_and_feature_at_fault() -> None:
    frame = pd.DataFrame({"n1": [1, 2], "n2": [1, "x"], "t1": ["a", "b"], "t2": ["a", 5]})
    error = refusal(frame)
    assert [violation.field for violation in error.violations] == ["rows[1].n2", "rows[1].t2"]


def test_a_frame_has_all_features_once_and_named() -> None:
    full = pd.DataFrame({name: [None] for name in MIXED})
    assert "rows.n2" in str(refusal(full.drop(columns="n2")))
    assert "more than one column 't1'" in str(refusal(full.rename(columns={"t2": "t1"})))
    assert "named by text" in str(refusal(full.rename(columns={"t2": 5})))


def test_a_frame_of_dates_is_no_frame_of_numbers() -> None:
    frame = pd.DataFrame({"n": pd.to_datetime(["2020-01-01"])})
    assert "takes a number, not the Timestamp" in str(refusal(frame, "n"))


def test_a_kind_of_feature_that_is_not_known_is_refused() -> None:
    feature = Feature(name="image", kind=FeatureKind.UNSPECIFIED)
    with pytest.raises(UnimplementedError, match=r"'image' is of a kind .* update scorewire"):
        RowEncoder(Schema(features=(feature,), outputs=(), fingerprint=""))


VALUES = {
    "n": st.none() | st.floats(width=64) | st.integers(-(2**53), 2**53) | st.booleans(),
    "t": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["n1", "n2", "n3", "t1", "t2"]), min_size=1, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.tuples(*(VALUES[name[0]] for name in names)), min_size=1, max_size=5)
        )
    )
)
def test_all_shapes_of_the_same_rows_are_the_same_bytes(
    case: tuple[list[str], list[tuple[Any, ...]]],
) -> None:
    names, values = case
    encoder = RowEncoder(schema(*names))
    dicts = [dict(zip(names, row, strict=True)) for row in values]
    array = np.empty((len(values), len(names)), dtype=object)
    for i, row in enumerate(values):
        array[i] = row
    frame = pd.DataFrame(
        {name: pd.Series([row[name] for row in dicts], dtype=object) for name in reversed(names)}
    )
    expected = encoder.encode(dicts).message()
    assert _canonical(encoder.encode(array).message()) == _canonical(expected)
    assert _canonical(encoder.encode(frame).message()) == _canonical(expected)
    sent = prediction_pb2.Rows.FromString(expected.SerializeToString())
    numbers = [row[name] for row in dicts for name in names if name[0] == "n"]
    assert same(list(sent.numbers), [math.nan if value is None else float(value) for value in numbers])
    assert list(sent.texts) == [row[name] or "" for row in dicts for name in names if name[0] == "t"]


def _canonical(rows: packed_pb2.PackedRows) -> tuple[int, list[str], list[str]]:
    """Compare doubles: NaNs of any payload are equal, and -0.0 is not 0.0."""
    numbers = np.frombuffer(b"".join(rows.numbers), dtype="<f8")
    return rows.row_count, [repr(number) for number in numbers.tolist()], list(rows.texts)
