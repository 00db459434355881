from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire import InternalError, Output, OutputKind, RowError, Schema
from scorewire._predictions import Predictions, ResponseDecoder, join
from scorewire_proto.v1 import packed_pb2, prediction_pb2

VALUE = Output(name="value", kind=OutputKind.NUMBER)
NOYES = ("no", "yes")
PROBABILITIES = Output(name="probabilities", kind=OutputKind.PROBABILITY, width=2, class_labels=NOYES)
LABEL = Output(name="label", kind=OutputKind.CLASS, class_labels=NOYES)
COLOURS = ("red", "green", "blue")
SHADES = Output(name="shades", kind=OutputKind.PROBABILITY, width=3, class_labels=COLOURS)
SHADE = Output(name="shade", kind=OutputKind.CLASS, class_labels=COLOURS)


def answer(outputs: dict[str, Any], rows: int, errors: Any = ()) -> packed_pb2.PackedPredictResponse:
    """Serialize a plain message as a server does, and parse it as its twin."""
    plain = prediction_pb2.PredictResponse(
        model="m", version="1.0.0", row_count=rows, errors=errors, server_time_us=120, model_time_us=30
    )
    for name, values in outputs.items():
        plain.outputs.add(name=name, numbers=np.ravel(values).tolist())
    return packed_pb2.PackedPredictResponse.FromString(plain.SerializeToString())


def decode(schema: list[Output], outputs: dict[str, Any], rows: int, errors: Any = ()) -> Predictions:
    return decoder_of(schema).decode(answer(outputs, rows, errors), rows)


def decoder_of(schema: list[Output]) -> ResponseDecoder:
    return ResponseDecoder(Schema(features=(), outputs=tuple(schema), fingerprint=""))


def test_a_regressions_score_is_its_first_value() -> None:
    batch = decode([VALUE], {"value": [1.5, -2]}, 2)
    assert batch.scores.tolist() == [1.5, -2.0]
    assert batch.labels == (None, None)
    assert batch[1].outputs == {"value": -2.0}
    assert (batch.model, batch.version) == ("m", "1.0.0")
    assert batch.server_time == timedelta(microseconds=120)
    assert batch.model_time == timedelta(microseconds=30)


def test_an_output_called_like_the_column_of_ids_makes_room_for_it() -> None:
    batch = decode([Output(name="record_id", kind=OutputKind.NUMBER)], {"record_id": [7]}, 1)
    assert list(batch.columns()) == ["score", "record_id", "error"]
    assert list(batch.columns(ids=True)) == ["score", "output_record_id", "error", "record_id"]


def test_of_two_classes_the_score_is_the_last_ones_probability() -> None:
    batch = decode([PROBABILITIES, LABEL], {"probabilities": [0.9, 0.1, 0.2, 0.8], "label": [0, 1]}, 2)
    assert batch.scores.tolist() == [0.1, 0.8]
    assert batch.labels == ("no", "yes")
    assert batch[0].outputs["probabilities"].tolist() == [0.9, 0.1]
    assert batch.outputs["probabilities"].shape == (2, 2)


def test_of_more_classes_the_score_is_the_predicted_ones_probability() -> None:
    outputs = {"shades": [0.2, 0.5, 0.3, 0.1, 0.45, 0.45], "shade": [1, 2]}
    batch = decode([SHADES, SHADE], outputs, 2)
    assert batch.scores.tolist() == [0.5, 0.45]
    # The predicted class counts, not the largest probability.
    assert batch.labels == ("green", "blue")


def test_without_a_class_output_the_largest_probability_names_the_class() -> None:
    batch = decode([SHADES], {"shades": [0.2, 0.5, 0.3, math.nan, math.nan, math.nan]}, 2)
    assert batch.labels == ("green", None)
    assert batch.scores[0] == 0.5
    assert math.isnan(batch.scores[1])


def test_a_class_without_probabilities_still_has_a_label() -> None:
    batch = decode([SHADE], {"shade": [2, 0]}, 2)
    assert batch.labels == ("blue", "red")
    assert batch.scores.tolist() == [2, 0]


def test_a_class_that_has_no_label_is_none() -> None:
    assert decode([SHADE], {"shade": [3, -1, math.nan]}, 3).labels == (None, None, None)


def test_a_row_with_an_error_has_it_and_no_score() -> None:
    error = prediction_pb2.RowError(row=1, reason=100, feature="age", message="age is missing")
    outputs = {"probabilities": [0.9, 0.1, math.nan, math.nan], "label": [0, math.nan]}
    batch = decode([PROBABILITIES, LABEL], outputs, 2, [error])
    expected = RowError(row=1, reason="MISSING_VALUE", feature="age", message="age is missing")
    assert batch.errors == (expected,)
    assert (batch[0].error, batch[0].label) == (None, "no")
    assert (batch[1].error, batch[1].label) == (expected, None)
    assert math.isnan(batch[1].score)


def test_a_reason_of_a_newer_server_keeps_its_number() -> None:
    error = prediction_pb2.RowError(row=0)
    error.MergeFromString(b"\x10\xf8\x01")
    assert decode([VALUE], {"value": [math.nan]}, 1, [error]).errors[0].reason == "248"


def test_a_batch_is_a_sequence_of_its_rows() -> None:
    batch = decode([VALUE], {"value": [1, 2, 3]}, 3)
    assert len(batch) == 3
    assert [row.score for row in batch] == [1, 2, 3]
    assert [row.score for row in reversed(batch)] == [3, 2, 1]
    assert [row.score for row in batch[::2]] == [1, 3]
    assert batch[-1].score == 3
    with pytest.raises(IndexError):
        batch[3]


def test_arrays_cannot_be_changed_by_accident() -> None:
    batch = decode([VALUE], {"value": [1, 2]}, 2)
    with pytest.raises(ValueError, match="read-only"):
        batch.outputs["value"][0] = 5


def test_to_pandas_has_a_row_for_each_row() -> None:
    error = prediction_pb2.RowError(row=1, reason=102, feature="c", message="unknown")
    outputs = {"shades": [0.2, 0.5, 0.3, math.nan, math.nan, math.nan], "shade": [1, math.nan]}
    frame = decode([SHADES, SHADE], outputs, 2, [error]).to_pandas()
    expected = pd.DataFrame(
        {
            "score": [0.5, math.nan],
            "label": ["green", None],
            "shades_red": [0.2, math.nan],
            "shades_green": [0.5, math.nan],
            "shades_blue": [0.3, math.nan],
            "error": [None, "unknown"],
        }
    )
    pd.testing.assert_frame_equal(frame, expected)


def test_classes_after_the_first_have_their_names_in_a_table() -> None:
    outputs = {"probabilities": [0.9, 0.1, 0.2, 0.8], "label": [0, 1], "shade": [2, math.nan]}
    batch = decode([PROBABILITIES, LABEL, SHADE], outputs, 2)
    assert batch.labels == ("no", "yes")
    assert batch.columns()["shade"] == ["blue", None]


def test_to_pandas_of_a_regression_has_no_label() -> None:
    assert list(decode([VALUE], {"value": [1]}, 1).to_pandas()) == ["score", "value", "error"]


def test_outputs_with_taken_names_are_told_apart() -> None:
    schema = [
        Output(name="score", kind=OutputKind.NUMBER),
        Output(name="error", kind=OutputKind.NUMBER, width=2),
        Output(name="error_0", kind=OutputKind.NUMBER),
    ]
    batch = decode(schema, {"score": [1], "error": [2, 3], "error_0": [4]}, 1)
    columns = {name: values[0] for name, values in batch.columns().items()}
    assert columns == {
        "score": 1,
        "output_score": 1,
        "error_0": 2,
        "error_1": 3,
        "output_error_0": 4,
        "error": None,
    }


@pytest.mark.parametrize(
    ("outputs", "rows"),
    [({"value": [1, 2, 3]}, 2), ({"other": [1, 2]}, 2), ({}, 2), ({"value": [1, 2], "more": [1, 2]}, 2)],
)
def test_an_answer_that_does_not_fit_is_refused(outputs: dict[str, Any], rows: int) -> None:
    with pytest.raises(InternalError, match="does not fit"):
        decode([VALUE], outputs, rows)


def test_an_answer_to_another_number_of_rows_is_refused() -> None:
    decoder = ResponseDecoder(Schema(features=(), outputs=(VALUE,), fingerprint=""))
    with pytest.raises(InternalError, match="does not fit the request"):
        decoder.decode(answer({"value": [1]}, 1), 2)


def test_numbers_in_several_pieces_are_read_whole() -> None:
    packed = packed_pb2.PackedPredictResponse(row_count=2)
    packed.outputs.add(name="value", numbers=[np.float64(1).tobytes(), np.float64(2).tobytes()])
    decoder = ResponseDecoder(Schema(features=(), outputs=(VALUE,), fingerprint=""))
    assert decoder.decode(packed, 2).scores.tolist() == [1, 2]


def test_numbers_cut_in_the_middle_are_refused() -> None:
    packed = packed_pb2.PackedPredictResponse(row_count=1)
    packed.outputs.add(name="value", numbers=[b"\0" * 7])
    decoder = ResponseDecoder(Schema(features=(), outputs=(VALUE,), fingerprint=""))
    with pytest.raises(InternalError, match="does not fit the schema"):
        decoder.decode(packed, 1)


def test_an_output_without_values_is_not_the_score() -> None:
    empty = Output(name="empty", kind=OutputKind.NUMBER, width=0)
    assert decode([empty, VALUE], {"empty": [], "value": [7]}, 1).scores.tolist() == [7]
    assert math.isnan(decode([empty], {"empty": []}, 1)[0].score)
    assert math.isnan(decode([], {}, 1)[0].score)


NUMBERS = st.floats(-3, 4) | st.just(math.nan)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([VALUE, PROBABILITIES, LABEL, SHADES, SHADE]), unique=True).flatmap(
        lambda schema: st.tuples(
            st.just(schema),
            st.tuples(*(st.lists(NUMBERS, min_size=o.width, max_size=o.width) for o in schema)),
            st.booleans(),
        )
    )
)
def test_one_row_is_decoded_as_a_batch_of_one(
    case: tuple[list[Output], tuple[list[float], ...], bool],
) -> None:
    schema, values, failed = case
    errors = (
        [prediction_pb2.RowError(row=0, reason="ERROR_REASON_MISSING_VALUE", feature="x")] if failed else []
    )
    response = answer({o.name: numbers for o, numbers in zip(schema, values, strict=True)}, 1, errors)
    decoder = decoder_of(schema)
    one, first = decoder.decode_row(response), decoder.decode(response, 1)[0]
    assert repr(one) == repr(first)


@pytest.mark.parametrize(
    ("outputs", "rows"),
    [({}, 1), ({"value": [1, 2]}, 1), ({"value": []}, 1), ({"other": [1]}, 1), ({"value": [1]}, 2)],
)
def test_a_response_that_does_not_fit_one_row_is_a_fault_of_the_server(
    outputs: dict[str, Any], rows: int
) -> None:
    with pytest.raises(InternalError):
        decoder_of([VALUE]).decode_row(answer(outputs, rows))


def test_parts_are_joined_with_the_errors_of_all_rows() -> None:
    errors = [prediction_pb2.RowError(row=1, reason="ERROR_REASON_MISSING_VALUE", feature="x")]
    parts = [
        decode(
            [PROBABILITIES, LABEL],
            {"probabilities": [[0.9, 0.1], [math.nan] * 2], "label": [0, math.nan]},
            2,
            errors,
        ),
        decode([PROBABILITIES, LABEL], {"probabilities": [[0.2, 0.8]], "label": [1]}, 1),
        decode(
            [PROBABILITIES, LABEL],
            {"probabilities": [[0.4, 0.6], [math.nan] * 2], "label": [1, math.nan]},
            2,
            errors,
        ),
    ]
    whole = join(parts)
    assert np.array_equal(whole.scores, [0.1, math.nan, 0.8, 0.6, math.nan], equal_nan=True)
    assert whole.labels == ("no", None, "yes", "yes", None)
    assert whole.outputs["probabilities"].shape == (5, 2)
    assert [error.row for error in whole.errors] == [1, 4]
    assert whole[4].error is whole.errors[1]
    assert whole.server_time == timedelta(microseconds=360)
    assert len(whole.to_pandas()) == 5
