from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from scorewire import Output, OutputKind, Schema
from scorewire_contract.bundle import Bundle
from scorewire_loadtest import calls
from scorewire_loadtest.calls import PreparedCall, from_bundle, from_table
from scorewire_loadtest.rows import Table
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, packed_pb2, prediction_pb2, schema_pb2
from tests.scorewire_loadtest.fake_server import FakeServer

SCHEMA = Schema(features=(), outputs=(Output(name="value", kind=OutputKind.NUMBER),), fingerprint="f")


def answer(bundle: Bundle, call: PreparedCall) -> prediction_pb2.PredictResponse:
    return FakeServer(bundle).score(prediction_pb2.PredictRequest.FromString(call.request))


def packed(response: prediction_pb2.PredictResponse) -> packed_pb2.PackedPredictResponse:
    return packed_pb2.PackedPredictResponse.FromString(response.SerializeToString())


@pytest.mark.parametrize("rows_per_call", [1, 2, 3, 7])
def test_every_golden_row_is_sent_equally_often_and_its_right_answer_passes(
    sum_bundle: Bundle, rows_per_call: int
) -> None:
    made = from_bundle(sum_bundle, rows_per_call=rows_per_call)
    sent: Counter[str] = Counter()
    for call in made:
        request = prediction_pb2.PredictRequest.FromString(call.request)
        assert request.rows.row_count == call.row_count == rows_per_call
        assert (request.model, request.version) == ("sum", "1.0.0")
        assert request.schema_fingerprint == sum_bundle.manifest.schema.fingerprint
        sent.update(request.rows.texts)
        response = packed(answer(sum_bundle, call))
        # Twice: the second time, the bytes are known to be right.
        assert [call.expectation.problem(response) for _ in range(2)] == ["", ""]
    assert len(set(sent.values())) == 1
    assert set(sent) == set(sum_bundle.golden.rows.texts)


def test_a_score_beyond_the_tolerance_is_found_after_right_ones_too(sum_bundle: Bundle) -> None:
    call = from_bundle(sum_bundle, rows_per_call=3)[0]
    response = answer(sum_bundle, call)
    assert call.expectation.problem(packed(response)) == ""
    right = response.outputs[0].numbers[2]
    response.outputs[0].numbers[2] = right + 1e-10
    assert call.expectation.problem(packed(response)) == ""
    response.outputs[0].numbers[2] = right + 1e-6
    assert call.expectation.problem(packed(response)).startswith("value[2] is ")
    response.outputs[0].numbers[2] = math.nan
    assert "value[2] is nan, expected" in call.expectation.problem(packed(response))


def _other_version(response: prediction_pb2.PredictResponse) -> None:
    response.version = "2.0.0"


def _no_error(response: prediction_pb2.PredictResponse) -> None:
    del response.errors[:]


def _other_error(response: prediction_pb2.PredictResponse) -> None:
    response.errors[0].reason = errors_pb2.ERROR_REASON_UNKNOWN_TEXT


def _newer_error(response: prediction_pb2.PredictResponse) -> None:
    response.errors[0].reason = 248  # type: ignore[assignment]  # as a newer server's


def _other_output(response: prediction_pb2.PredictResponse) -> None:
    response.outputs[0].name = "score"


def _short(response: prediction_pb2.PredictResponse) -> None:
    del response.outputs[0].numbers[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_other_version, "answered by sum 2.0.0, expected sum 1.0.0"),
        (_no_error, r"rows refused none, expected 1 \(ERROR_REASON_MISSING_VALUE x0\)"),
        (_other_error, "rows refused 1 .ERROR_REASON_UNKNOWN_TEXT x0., expected"),
        (_newer_error, r"rows refused 1 \(248 x0\), expected"),
        (_other_output, r"outputs \['score'\], expected \['value'\]"),
        (_short, "value has 2 values, expected 3"),
    ],
)
def test_an_answer_that_differs_is_a_problem(sum_bundle: Bundle, spoil: object, message: str) -> None:
    call = from_bundle(sum_bundle, rows_per_call=3)[0]
    response = answer(sum_bundle, call)
    assert callable(spoil)
    spoil(response)
    problem = call.expectation.problem(packed(response))
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


def test_an_answer_in_several_pieces_is_put_together(sum_bundle: Bundle) -> None:
    call = from_bundle(sum_bundle, rows_per_call=3)[0]
    whole = packed(answer(sum_bundle, call))
    content = whole.outputs[0].numbers[0]
    del whole.outputs[0].numbers[:]
    whole.outputs[0].numbers.extend([content[:8], content[8:]])
    assert call.expectation.problem(whole) == ""


def test_rows_of_a_file_are_checked_for_the_shape_of_the_answer() -> None:
    table = Table(np.array([[1.0], [2.0], [3.0]]), [("a",), ("b",), ("c",)])
    made = from_table(table, SCHEMA, model="m", version="prod", rows_per_call=2)
    requests = [prediction_pb2.PredictRequest.FromString(call.request) for call in made]
    assert [list(request.rows.numbers) for request in requests] == [[1, 2], [3, 1], [2, 3]]
    assert [list(request.rows.texts) for request in requests] == [["a", "b"], ["c", "a"], ["b", "c"]]
    assert {(r.model, r.version, r.schema_fingerprint) for r in requests} == {("m", "prod", "f")}
    response = prediction_pb2.PredictResponse(row_count=2)
    response.outputs.add(name="value").numbers.extend([1.0, 2.0])
    assert made[0].expectation.problem(packed(response)) == ""
    response.outputs[0].numbers.append(3.0)
    assert "expected 2 of [('value', 2)]" in made[0].expectation.problem(packed(response))


def test_texts_of_the_answer_are_counted_too() -> None:
    schema = Schema(
        features=(), outputs=(Output(name="word", kind=OutputKind.TEXT, width=2),), fingerprint="f"
    )
    table = Table(np.array([[1.0]]), [()])
    (call,) = from_table(table, schema, model="m", version="", rows_per_call=1)
    response = prediction_pb2.PredictResponse(row_count=1)
    response.outputs.add(name="word").texts.extend(["a", ""])
    assert call.expectation.problem(packed(response)) == ""
    response.outputs[0].texts.append("b")
    assert "expected 1 of [('word', 2)]" in call.expectation.problem(packed(response))


def test_texts_of_the_answer_are_compared_with_those_of_the_bundle(sum_bundle: Bundle) -> None:
    manifest, golden = manifest_pb2.Manifest(), manifest_pb2.Golden()
    manifest.CopyFrom(sum_bundle.manifest)
    golden.CopyFrom(sum_bundle.golden)
    manifest.schema.outputs.add(name="word", kind=schema_pb2.OUTPUT_KIND_TEXT, width=1)
    golden.expected.outputs.add(name="word").texts.extend(["a", "", "c", *"d" * 16])
    bundle = replace(sum_bundle, manifest=manifest, golden=golden)
    call = from_bundle(bundle, rows_per_call=3)[0]
    response = answer(sum_bundle, call)
    response.outputs.add(name="word").texts.extend(["a", "", "c"])
    assert [call.expectation.problem(packed(response)) for _ in range(2)] == ["", ""]
    response.outputs[1].texts[2] = "d"
    assert call.expectation.problem(packed(response)) == "word[2] is 'd', expected 'c'"
    del response.outputs[1].texts[2]
    assert call.expectation.problem(packed(response)) == "word has 2 values, expected 3"


@pytest.mark.parametrize("name", ["MAX_CALLS", "MAX_ROWS"])
def test_no_more_is_kept_than_the_memory_should_hold(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(calls, name, 2)
    table = Table(np.zeros((5, 1)), [()] * 5)
    assert len(from_table(table, SCHEMA, model="m", version="", rows_per_call=1)) == 2
    # At least one call.
    assert len(from_table(table, SCHEMA, model="m", version="", rows_per_call=5)) == 1


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        from_table(Table(np.zeros((0, 1)), []), SCHEMA, model="m", version="", rows_per_call=1)
