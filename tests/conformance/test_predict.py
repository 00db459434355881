"""The responses of Predict."""

from __future__ import annotations

import math

import pytest

from scorewire_proto.v1 import errors_pb2, prediction_pb2
from tests.bundles import GREETINGS, LOWEST_CLASSED, expected_value
from tests.conformance.wire import Wire, sum_request, values


def test_one_row_is_scored(wire: Wire) -> None:
    response = wire.predict(sum_request(numbers=[1.5, -2.0], texts=["pe"]))
    assert response.model == "sum"
    assert response.version == "1.1.0"
    assert response.row_count == 1
    assert values(response) == [expected_value([1.5, -2.0], "pe", offset=100)]
    assert not response.errors
    assert response.server_time_us >= response.model_time_us


def test_rows_are_scored_in_their_order(wire: Wire) -> None:
    numbers = [float(i) for i in range(20)]
    texts = ["de", "pe", "", "?", " DE "] * 2
    response = wire.predict(sum_request(numbers, texts, row_count=10))
    wanted = [expected_value(numbers[2 * i : 2 * i + 2], texts[i], offset=100) for i in range(10)]
    assert values(response) == wanted


def test_a_large_batch_is_scored_like_its_rows(wire: Wire) -> None:
    count = 1000
    numbers = [float(i % 97) for i in range(2 * count)]
    texts = ["de", "pe", "", "nowhere"] * (count // 4)
    response = wire.predict(sum_request(numbers, texts, row_count=count))
    wanted = [expected_value(numbers[2 * i : 2 * i + 2], texts[i], offset=100) for i in range(count)]
    assert values(response) == wanted


def test_missing_values_are_scored_where_the_model_allows_them(wire: Wire) -> None:
    response = wire.predict(sum_request(numbers=[1.0, math.nan], texts=[""]))
    assert values(response) == [expected_value([1.0], "", offset=100)]
    assert not response.errors


def test_a_bad_row_costs_its_own_score_only(wire: Wire) -> None:
    numbers = [1.0, 2.0, math.nan, 2.0, 3.0, 1e31, 4.0, 5.0]
    response = wire.predict(sum_request(numbers, ["de"] * 4, row_count=4))
    scores = values(response)
    assert [math.isnan(score) for score in scores] == [False, True, True, False]
    assert scores[3] == expected_value([4.0, 5.0], "de", offset=100)
    assert [(error.row, error.reason, error.feature) for error in response.errors] == [
        (1, errors_pb2.ERROR_REASON_MISSING_VALUE, "x0"),
        (2, errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, "x1"),
    ]
    assert all(error.message for error in response.errors)


def test_a_number_below_a_models_domain_costs_its_row_alone(wire: Wire) -> None:
    numbers = [math.nextafter(LOWEST_CLASSED, 0.0), LOWEST_CLASSED, math.inf, -math.inf, 0.0]
    response = wire.predict(sum_request(numbers, [], len(numbers), model="classes"))
    assert [math.isnan(label) for label in values(response, "label")] == [False, True, False, True, False]
    told = "x is out of range: this model takes numbers above -1e+30"
    assert [(error.row, error.reason, error.message) for error in response.errors] == [
        (row, errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, told) for row in (1, 3)
    ]


def test_a_call_of_bad_rows_only_is_answered(wire: Wire) -> None:
    response = wire.predict(sum_request([math.nan, 0.0, math.inf, 0.0], ["", ""], row_count=2))
    assert all(math.isnan(score) for score in values(response))
    assert [error.reason for error in response.errors] == [
        errors_pb2.ERROR_REASON_MISSING_VALUE,
        errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE,
    ]


@pytest.mark.parametrize("number", [0.0, -0.0, 5e-324, 2.0**53, 1e30, -1e30])
def test_numbers_arrive_as_doubles(wire: Wire, number: float) -> None:
    response = wire.predict(sum_request(numbers=[number, math.nan], version="1.0.0", texts=[""]))
    assert values(response) == [number + 0.5]


def test_all_outputs_are_answered_in_schema_order(wire: Wire) -> None:
    rows = prediction_pb2.Rows(row_count=2, numbers=[0.0, 5.0])
    response = wire.predict(prediction_pb2.PredictRequest(model="classes", rows=rows))
    assert [output.name for output in response.outputs] == ["probabilities", "label"]
    yes = 1 / (1 + math.exp(-5.0))
    assert values(response, "probabilities") == pytest.approx([0.5, 0.5, 1 - yes, yes], abs=1e-6)
    assert values(response, "label") == [0.0, 1.0]


def test_a_model_of_texts_alone_takes_no_numbers(wire: Wire) -> None:
    rows = prediction_pb2.Rows(row_count=4, texts=["bye", "hello", "hi", ""])
    response = wire.predict(prediction_pb2.PredictRequest(model="greeting", rows=rows))
    assert values(response)[:2] == [GREETINGS["bye"], GREETINGS["hello"]]
    assert [(error.row, error.reason, error.feature) for error in response.errors] == [
        (2, errors_pb2.ERROR_REASON_UNKNOWN_TEXT, "word"),
        (3, errors_pb2.ERROR_REASON_MISSING_VALUE, "word"),
    ]


def test_texts_of_any_script_and_length_are_taken(wire: Wire) -> None:
    texts = ["日本", "a\x00b", "é" * 10_000, "\u202e", "de\n"]
    response = wire.predict(sum_request([1.0, 1.0] * 5, texts, row_count=5))
    assert values(response) == [expected_value([1.0, 1.0], text, offset=100) for text in texts]


def test_a_version_is_answered_by_itself(wire: Wire) -> None:
    for version, offset in (("1.0.0", 0), ("1.1.0", 100), ("2.0.0-rc.1", 1000)):
        response = wire.predict(sum_request(version=version))
        assert response.version == version
        assert values(response) == [expected_value([1.0, 2.0], "de", offset)]


def test_the_default_is_the_highest_release_that_serves(wire: Wire) -> None:
    assert wire.predict(sum_request()).version == "1.1.0"


def test_a_routing_key_is_taken(wire: Wire) -> None:
    assert wire.predict(sum_request(routing_key="customer-7")).version == "1.1.0"
