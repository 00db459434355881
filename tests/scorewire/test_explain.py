"""Explained predictions, from the caller's argument to the server and back."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorewire import (
    Client,
    Explain,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotExplainedError,
    OutputExplanation,
    ResourceExhaustedError,
    UnimplementedError,
)
from scorewire._errors import ERRORS, OF_REASONS
from scorewire.testing import FakeServer
from scorewire_proto.v1 import errors_pb2, prediction_pb2
from tests.fake_models import CHURN, LEAVING, SHADE, SUM

ROW = {"age": 30.0, "country": "pe", "visits": 8.0, "plan": None}
ROWS = [
    {"age": float(age), "country": "pe" if age % 2 else "", "visits": 4.0, "plan": "pro"} for age in range(60)
]
REFUSED = {"age": None, "country": "pe", "visits": 1.0, "plan": "pro"}


@pytest.fixture
def fake() -> Any:
    with FakeServer(LEAVING, SHADE, SUM, CHURN) as server:
        yield server


@pytest.fixture
def client(connect: Any, fake: FakeServer) -> Any:
    return connect(fake.address)


def test_nothing_is_explained_unless_the_caller_asks(client: Any, fake: FakeServer) -> None:
    assert client.predict("leaving", ROW).contributions is None
    assert client.predict("leaving", [ROW, ROW]).contributions is None
    assert client.predict("leaving", ROW, explain=False).contributions is None
    assert client.predict("leaving", ROW, explain=np.False_).contributions is None
    assert [call.explain for call in fake.calls if call.method == "Predict"] == [None] * 4


def test_one_row_has_the_contribution_of_each_column(client: Any) -> None:
    found = client.predict("leaving", ROW, explain=True).contributions
    assert dict(found) == {"age": 3.0, "country": 1.0, "visits": -2.0, "plan": 0.0}
    assert found["age"] == 3.0
    assert found == {"age": 3.0, "country": 1.0, "visits": -2.0, "plan": 0.0}
    assert (found.base, found.margin) == (-0.5, 1.5)
    assert found.base + sum(found.values()) == found.margin
    assert (found.output, found.link, found.label, found.labels) == (
        "probabilities",
        "sigmoid",
        "yes",
        ("yes",),
    )
    assert found.features == ROW
    with pytest.raises(KeyError):
        found["salary"]


def test_a_batch_has_arrays_of_all_rows(client: Any) -> None:
    predictions = client.predict("leaving", ROWS, explain=True)
    found = predictions.contributions
    assert (found.output, found.link, found.labels) == ("probabilities", "sigmoid", ("yes",))
    assert found.columns == ("age", "country", "visits", "plan")
    assert (found.base.shape, found.margins.shape, found.values.shape) == ((1,), (60, 1), (60, 1, 4))
    assert np.allclose(found.base + found.values.sum(axis=2), found.margins, rtol=1e-12)
    assert np.allclose(1 / (1 + np.exp(-found.margins[:, 0])), predictions.scores)
    assert len(found) == 60
    assert (
        dict(found[7])
        == dict(predictions[7].contributions)
        == {"age": 0.7, "country": 1.0, "visits": -1.0, "plan": 0}
    )
    assert found[7].features == ROWS[7]
    assert found[6].features == {**ROWS[6], "country": None}
    assert [each.margin for each in found] == found.margins[:, 0].tolist()
    assert [each["age"] for each in found[-2:]] == [5.8, 5.9]
    with pytest.raises(IndexError):
        found[60]


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_frames_and_arrays_are_explained_as_dicts_are(client: Any, kind: str) -> None:
    frame = pd.DataFrame(ROWS)
    rows = frame[["visits", "plan", "age", "country"]] if kind == "frame" else frame.to_numpy(dtype=object)
    found = client.predict("leaving", rows, explain=True).contributions
    expected = client.predict("leaving", ROWS, explain=True).contributions
    assert np.array_equal(found.values, expected.values)
    assert found[3].features == expected[3].features


def test_a_row_with_an_error_has_no_contributions(client: Any) -> None:
    assert client.predict("leaving", REFUSED, explain=True).contributions is None
    predictions = client.predict("leaving", [ROW, REFUSED, ROW], explain=True)
    found = predictions.contributions
    assert np.isnan(found.margins[1]).all()
    assert np.isnan(found.values[1]).all()
    assert found[1] is predictions[1].contributions is None
    assert [each is None for each in found] == [False, True, False]
    assert np.isfinite(found.values[[0, 2]]).all()
    strongest = client.predict("leaving", [REFUSED, ROW], explain=1).contributions
    assert strongest[0] is None
    assert dict(strongest[1]) == {"age": 3.0}
    assert np.isnan(strongest.values[0]).all()
    assert client.predict("leaving", REFUSED, explain=2).contributions is None
    alone = client.predict("leaving", [REFUSED], explain=2).contributions
    assert (alone.margins.shape, alone.values.shape[:2]) == ((1, 1), (1, 1))


def test_the_strongest_columns_come_first(client: Any, fake: FakeServer) -> None:
    found = client.predict("leaving", ROW, explain=2).contributions
    assert list(found.items()) == [("age", 3.0), ("visits", -2.0)]
    assert "country" not in found
    # The margin is that of all columns.
    assert (found.base, found.margin) == (-0.5, 1.5)
    batch = client.predict("leaving", [ROW, {**ROW, "age": 0.5}], explain=1).contributions
    assert batch.columns == ("age", "visits")
    assert np.array_equal(batch.values, [[[3.0, np.nan]], [[np.nan, -2.0]]], equal_nan=True)
    assert [dict(each) for each in batch] == [{"age": 3.0}, {"visits": -2.0}]
    assert [call.explain.top_k for call in fake.calls if call.explain] == [2, 1]


def test_more_columns_than_there_are_give_all_of_them(client: Any) -> None:
    found = client.predict("leaving", ROW, explain=100).contributions
    assert found.strongest(9) == [("age", 3.0), ("visits", -2.0), ("country", 1.0), ("plan", 0.0)]
    assert len(found) == 4


def test_of_several_margins_a_row_shows_that_of_the_predicted_class(client: Any) -> None:
    row = {"x": 1.0, "y": 3.0}
    prediction = client.predict("shade", row, explain=True)
    found = prediction.contributions
    assert prediction.label == found.label == "blue"
    assert found.labels == ("red", "green", "blue")
    assert dict(found) == {"x": 1.0, "y": 6.0}
    assert dict(found.of("red")) == dict(found.of(0)) == {"x": 1.0, "y": -3.0}
    assert (found.of("red").label, found.of("red").margin, found.margin) == ("red", -2.0, 7.0)
    assert found.of("red").of("blue") == found
    batch = client.predict("shade", [row, {"x": 0.0, "y": -2.0}], explain=True).contributions
    assert batch.values.shape == (2, 3, 2)
    assert [each.label for each in batch] == ["blue", "red"]
    for label in ("grey", 3, -1, True):
        with pytest.raises(ValueError, match=r"no margin .* margins are 'red', 'green', 'blue'"):
            found.of(label)


def test_of_several_margins_each_has_its_own_strongest_columns(client: Any) -> None:
    found = client.predict("shade", [{"x": 2.0, "y": 3.0}], explain=1).contributions
    assert found.columns == ("x", "y")
    nan = np.nan
    assert np.array_equal(found.values, [[[nan, -3.0], [2.0, nan], [nan, 6.0]]], equal_nan=True)


def test_an_output_can_be_named(client: Any, fake: FakeServer) -> None:
    found = client.predict("leaving", ROW, explain=Explain(output="probabilities", top_k=1)).contributions
    assert (found.output, dict(found)) == ("probabilities", {"age": 3.0})
    assert fake.calls[-1].explain == Explain(top_k=1, output="probabilities")
    with pytest.raises(NotExplainedError, match="the output 'label' is not explained"):
        client.predict("leaving", ROW, explain=Explain(output="label"))
    with pytest.raises(InvalidArgumentError, match="there is no output 'zodiac'"):
        client.predict("leaving", ROW, explain=Explain(output="zodiac"))


def test_a_model_that_cannot_explain_says_so_and_still_scores(client: Any) -> None:
    one, two = {"x": 1, "y": 0}, {"x": 2, "y": 0}
    for rows in (one, [one, two]):
        with pytest.raises(NotExplainedError) as caught:
            client.predict("sum", rows, explain=True)
        assert caught.value.reason == "NOT_EXPLAINED"
        assert isinstance(caught.value, FailedPreconditionError)
    bad, good = client.predict_stream("sum", [[one], [two]], explain=3, on_error="yield")
    assert type(bad) is type(good) is NotExplainedError
    assert client.predict("sum", one).score == 1


def test_a_reason_has_an_exception_of_its_own_for_its_code_only() -> None:
    assert set(OF_REASONS.values()) == {NotExplainedError}
    for (code, reason), error in OF_REASONS.items():
        assert f"ERROR_REASON_{reason}" in dict(errors_pb2.ErrorReason.items())
        assert issubclass(error, ERRORS[code])
    with FakeServer(SUM) as server:
        for code, error in ERRORS.items():
            server.fail(
                code, "so it is", times=3 if code.name == "UNAVAILABLE" else 1, reason="NOT_EXPLAINED"
            )
            expected = NotExplainedError if code.name == "FAILED_PRECONDITION" else error
            with Client(server.address) as client, pytest.raises(expected) as caught:
                client.predict("sum", {"x": 1})
            assert type(caught.value) is expected


@pytest.mark.parametrize("explain", [0, -1, "x", 2**32, 1.0, None, np.float64(2), [1]])
def test_odd_values_of_explain_are_refused_and_nothing_is_sent(
    client: Any, fake: FakeServer, explain: Any
) -> None:
    with pytest.raises(ValueError, match="explain is True, False, an Explain, or a number of columns"):
        client.predict("leaving", ROW, explain=explain)
    with pytest.raises(ValueError, match="explain is True"):
        client.predict_stream("leaving", [ROW], explain=explain)
    assert fake.calls == []


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": -1},
        {"top_k": 2**32},
        {"top_k": True},
        {"top_k": "2"},
        {"top_k": 1.5},
        {"output": 3},
        {"output": "\ud800"},
    ],
)
def test_odd_settings_of_explain_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match="top_k is an integer|output is"):
        Explain(**settings)


def test_booleans_and_integers_of_numpy_are_what_they_look_like(client: Any, fake: FakeServer) -> None:
    assert len(client.predict("leaving", ROW, explain=np.True_).contributions) == 4
    assert len(client.predict("leaving", ROW, explain=np.int64(1)).contributions) == 1
    assert len(client.predict("leaving", ROW, explain=1).contributions) == 1
    assert len(client.predict("leaving", ROW, explain=True).contributions) == 4
    assert len(client.predict("leaving", ROW, explain=2**32 - 1).contributions) == 4


def test_a_stream_explains_rows_and_batches(client: Any) -> None:
    rows = [*ROWS[:3], REFUSED, *ROWS[3:]]
    results = client.predict_stream("leaving", iter(rows), explain=True)
    for row, result in zip(rows, results, strict=True):
        if row is REFUSED:
            assert result.contributions is None
        else:
            assert result.contributions["age"] == row["age"] / 10
            assert result.contributions.features["age"] == row["age"]
    batches = client.predict_stream("leaving", [ROWS[:20], ROWS[20:]], explain=2)
    assert [each.contributions.values.shape[0] for each in batches] == [20, 40]
    assert all(len(each.contributions[5]) == 2 for each in batches)


@pytest.mark.parametrize("explain", [True, 1])
def test_a_batch_in_parts_is_explained_as_a_whole(connect: Any, fake: FakeServer, explain: Any) -> None:
    rows = [REFUSED if age % 10 == 9 else row for age, row in enumerate(ROWS)]
    expected = connect(fake.address).predict("leaving", rows, explain=explain).contributions
    fake.max_rows = 7
    fake.calls.clear()
    client = connect(fake.address)
    whole = client.predict("leaving", rows, explain=explain)
    assert len(fake.calls) == 10
    assert all(call.explain == Explain(top_k=0 if explain is True else 1) for call in fake.calls[1:])
    found = whole.contributions
    assert found.columns == expected.columns
    assert np.array_equal(found.margins, expected.margins, equal_nan=True)
    assert np.array_equal(found.values, expected.values, equal_nan=True)
    assert [each and each.features for each in found] == [each and each.features for each in expected]
    (batch,) = client.predict_stream("leaving", [rows], explain=explain)
    assert np.array_equal(batch.contributions.values, expected.values, equal_nan=True)


def test_parts_with_other_strongest_columns_have_the_columns_of_all(connect: Any, fake: FakeServer) -> None:
    fake.max_rows = 1
    rows = [{**ROW, "age": 1.0, "visits": 40.0}, {**ROW, "age": 1.0, "visits": 1.0}, ROW]
    found = connect(fake.address).predict("leaving", rows, explain=1).contributions
    assert found.columns == ("age", "country", "visits")
    assert [dict(each) for each in found] == [{"visits": -10.0}, {"country": 1.0}, {"age": 3.0}]
    nan = np.nan
    assert np.array_equal(found.values[:, 0], [[nan, nan, -10], [nan, 1, nan], [3, nan, nan]], equal_nan=True)


def wide(features: int) -> Any:
    names = [f"f{place}" for place in range(features)]
    return replace(
        SUM,
        name="wide",
        features=dict.fromkeys(names, float),
        score=lambda row: sum(row.values()),
        explain=lambda row: row,
    )


@pytest.mark.parametrize("explain", [True, 50])
def test_answers_with_contributions_stay_below_the_limit_of_a_message(connect: Any, explain: Any) -> None:
    rows = np.random.default_rng(1).normal(size=(2000, 200))
    with FakeServer(wide(200), max_message_bytes=1 << 20) as server:
        client = connect(server.address, max_message_bytes=1 << 20)
        plain = client.predict("wide", rows[:600])
        assert sum(call.method == "Predict" for call in server.calls) == 1
        server.calls.clear()
        found = client.predict("wide", rows, explain=explain)
        calls = sum(call.method == "Predict" for call in server.calls)
    # 3.2 MB of contributions, or 0.9 MB of the strongest ones; the requests take 3.2 MB in both cases.
    assert calls >= 4
    assert plain.contributions is None
    sums = np.nansum(found.contributions.values, axis=2)
    assert found.contributions.values.shape[0] == 2000
    if explain is True:
        assert np.allclose(sums, found.contributions.margins)
        assert np.array_equal(found.contributions.values[:, 0], rows)
    else:
        assert (~np.isnan(found.contributions.values)).sum() == 2000 * 50


def test_the_answers_count_where_the_requests_are_small(connect: Any) -> None:
    # 1,000 rows of 50 texts of one letter are small, and their contributions are 400 kB.
    names = [f"f{place}" for place in range(50)]
    texts = replace(
        SUM,
        name="texts",
        features=dict.fromkeys(names, str),
        score=lambda _: 0.0,
        explain=lambda _: {names[0]: 2.0},
    )
    rows = [dict.fromkeys(names, "a")] * 1000
    with FakeServer(texts, max_message_bytes=300_000) as server:
        client = connect(server.address, max_message_bytes=300_000)
        client.predict("texts", rows[:500])
        found = client.predict("texts", rows, explain=True).contributions
        sizes = [len(call.rows) for call in server.calls if call.method == "Predict"]
    assert max(sizes[1:]) * 50 * 8 < 300_000
    assert found.values[:, 0, 0].tolist() == [2.0] * 1000


def test_a_row_whose_contributions_no_message_holds_is_an_error(connect: Any) -> None:
    labels = [f"class {place}" for place in range(40)]
    model = replace(
        wide(50), class_labels=labels, score=lambda _: [1 / 40] * 40, explain=lambda row: [row] * 40
    )
    with FakeServer(model, max_message_bytes=12_000) as server:
        client = connect(server.address, max_message_bytes=12_000)
        found = client.predict("wide", np.ones((2, 50)), explain=2).contributions
        assert (found.margins == 50.0).all()
        with pytest.raises(ResourceExhaustedError):
            client.predict("wide", np.ones((1, 50)), explain=True)


@pytest.mark.parametrize("rows", [ROW, [ROW, ROW]])
def test_a_server_of_an_older_release_is_an_error(
    client: Any, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    answer = FakeServer._answer

    def without(self: FakeServer, request: Any, *others: Any) -> Any:
        request.ClearField("explain")
        return answer(self, request, *others)

    monkeypatch.setattr(FakeServer, "_answer", without)
    with pytest.raises(UnimplementedError, match="explains no predictions"):
        client.predict("leaving", rows, explain=True)
    (found,) = client.predict_stream("leaving", [rows], explain=True, on_error="yield")
    assert type(found) is UnimplementedError


def spoil_base(found: prediction_pb2.Contributions) -> None:
    del found.base[:]


def spoil_margins(found: prediction_pb2.Contributions) -> None:
    found.margins.append(1.0)


def spoil_values(found: prediction_pb2.Contributions) -> None:
    found.values.pop()


def spoil_columns(found: prediction_pb2.Contributions) -> None:
    found.columns[0], found.columns[1] = found.columns[1], found.columns[0]


def spoil_names(found: prediction_pb2.Contributions) -> None:
    found.columns[-1] = "zodiac"


def spoil_labels(found: prediction_pb2.Contributions) -> None:
    found.labels.append("maybe")


def spoil_places(found: prediction_pb2.Contributions) -> None:
    found.places.append(1)


def spoil_place(found: prediction_pb2.Contributions) -> None:
    found.places[:] = [9] * len(found.values)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_base,
        spoil_margins,
        spoil_values,
        spoil_columns,
        spoil_names,
        spoil_labels,
        spoil_places,
        spoil_place,
    ],
)
@pytest.mark.parametrize("rows", [ROW, [ROW, ROW]], ids=["row", "batch"])
def test_contributions_that_do_not_fit_are_an_error(
    client: Any, monkeypatch: pytest.MonkeyPatch, spoil: Any, rows: Any
) -> None:
    answer = FakeServer._answer

    def spoiled(self: FakeServer, *arguments: Any) -> Any:
        response = answer(self, *arguments)
        spoil(response.contributions)
        return response

    monkeypatch.setattr(FakeServer, "_answer", spoiled)
    with pytest.raises(InternalError, match="contributions do not fit"):
        client.predict("leaving", rows, explain=True)


def test_a_frame_has_rows_and_columns(client: Any) -> None:
    found = client.predict("leaving", [ROW, REFUSED], explain=True).contributions
    expected = pd.DataFrame(
        {
            "age": [3.0, math.nan],
            "country": [1.0, math.nan],
            "visits": [-2.0, math.nan],
            "plan": [0.0, math.nan],
        }
    )
    pd.testing.assert_frame_equal(found.to_pandas(), expected)
    pd.testing.assert_frame_equal(found.to_pandas("yes"), expected)
    with pytest.raises(ValueError, match="no margin 'no'"):
        found.to_pandas("no")


def test_a_frame_of_several_margins_has_columns_by_label(client: Any) -> None:
    found = client.predict("shade", [{"x": 1.0, "y": 3.0}], explain=True).contributions
    frame = found.to_pandas()
    assert frame.columns.names == ["label", "column"]
    assert frame["green"].to_dict("records") == [{"x": 1.0, "y": 1.5}]
    assert frame[("blue", "y")].tolist() == [6.0]
    assert found.to_pandas("red").to_dict("records") == [{"x": 1.0, "y": -3.0}]
    assert found.to_pandas(2).to_dict("records") == [{"x": 1.0, "y": 6.0}]


def test_explained_predictions_can_be_pickled(client: Any) -> None:
    batch = client.predict("leaving", [ROW, REFUSED], explain=2)
    copied = pickle.loads(pickle.dumps(batch))  # noqa: S301 - our own bytes
    assert dict(copied.contributions[0]) == dict(batch.contributions[0])
    assert copied[0].contributions.features == ROW
    one = client.predict("leaving", ROW, explain=True)
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own bytes
    assert again.contributions == one.contributions


def test_a_status_tells_which_outputs_are_explained(client: Any) -> None:
    versions = {status.name: status.versions[0] for status in client.models()}
    assert versions["leaving"].explanations == (
        OutputExplanation(output="probabilities", link="sigmoid", details="a Python function"),
    )
    (refusal,) = versions["sum"].explanations
    assert (refusal.output, refusal.link, refusal.details) == (
        "value",
        "",
        "the fake model has no explain function",
    )
    assert client.model("shade").status.versions[0].explanations[0].link == "softmax"


def test_a_schema_that_changes_meanwhile_is_fetched_and_the_rows_explained(
    client: Any, fake: FakeServer
) -> None:
    assert client.predict("leaving", ROW, explain=True).contributions["age"] == 3.0
    fake.serve(replace(LEAVING, features={"visits": float, "plan": str, "age": float, "country": str}))
    found = client.predict("leaving", ROW, explain=True).contributions
    assert list(found) == ["visits", "plan", "age", "country"]
    assert found.features == ROW
