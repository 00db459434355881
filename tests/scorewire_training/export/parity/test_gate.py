from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_contract.coding import RowError
from scorewire_contract.scoring import Scorer
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, schema_pb2
from scorewire_training.export.errors import ParityError
from scorewire_training.export.frames import WireRows
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedScores
from scorewire_training.export.parity.gate import (
    BundleScores,
    ParityReport,
    checked_shapes,
    compare,
    score_rows,
)
from scorewire_training.export.parity.hard_rows import SAMPLE, ComparisonRows
from scorewire_training.export.tolerance import Tolerance

VALUE = (ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="v", width=1),)
CLASSES = (
    ModelOutput(
        name="probabilities",
        kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
        tensor="p",
        width=2,
        class_labels=("no", "yes"),
    ),
    ModelOutput(
        name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, tensor="l", width=1, class_labels=("no", "yes")
    ),
)


def _tried(count: int, hard: int = 0) -> ComparisonRows:
    rows = WireRows(np.zeros((count, 1)), np.empty((count, 0), dtype=object))
    sample = count - hard
    return ComparisonRows(
        rows, (SAMPLE,) * sample + ("huge",) * hard, ("",) * sample + ("age = 1e+30",) * hard
    )


def _compare(
    fitted: Sequence[NDArray[np.float64]],
    bundle: Sequence[NDArray[np.float64]],
    outputs: Sequence[ModelOutput] = VALUE,
    *,
    hard: int = 0,
    refused: Sequence[int] = (),
    errors: Sequence[int] = (),
) -> ParityReport:
    count = len(fitted[0])
    mask = np.zeros(count, dtype=np.bool_)
    mask[list(refused)] = True
    found = [RowError(row, errors_pb2.ERROR_REASON_MISSING_VALUE, "age", "age is missing") for row in errors]
    scores = BundleScores([array.reshape(count, -1) for array in bundle], found)
    return compare(
        _tried(count, hard), FittedScores([a.reshape(count, -1) for a in fitted], mask), scores, outputs
    )


def test_equal_answers_pass_with_nothing_to_report() -> None:
    values = np.array([1.0, 2.0, np.inf, np.nan])
    report = _compare([values], [values])
    assert report.rows_compared == 4
    assert report.rows_refused == 0
    assert report.worst_share_of_tolerance == report.worst_absolute_difference == 0
    assert report.rows_by_origin == {"sample": 4}


def test_tolerance_is_relative_plus_a_share_of_the_samples_deviation() -> None:
    fitted = np.array([0.0, 200.0])  # of standard deviation 100
    report = _compare([fitted], [fitted + np.array([4.9e-4, 0])])
    assert report.worst_share_of_tolerance == pytest.approx(0.98)
    assert report.worst_absolute_difference == pytest.approx(4.9e-4)
    assert report.absolute_tolerance == pytest.approx(5e-4)
    with pytest.raises(ParityError):
        _compare([fitted], [fitted + np.array([5.1e-4, 0])])
    _compare([fitted], [fitted + np.array([0, 1.4e-3])])
    with pytest.raises(ParityError):
        _compare([fitted], [fitted + np.array([0, 1.6e-3])])


def test_numbers_whose_squares_overflow_have_a_tolerance_too() -> None:
    fitted = np.array([0.0, 2e200])
    _compare([fitted], [fitted + 4e194])
    with pytest.raises(ParityError):
        _compare([fitted], [fitted + 6e195])


def test_hard_rows_do_not_widen_the_tolerance() -> None:
    fitted = np.array([0.0, 0.0, 1e9])
    with pytest.raises(ParityError, match="1 of 3 rows"):
        _compare([fitted], [fitted + np.array([1e-12, 0, 0])], hard=1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_differs(wrong: float) -> None:
    with pytest.raises(ParityError):
        _compare([np.array([1.0, 2.0])], [np.array([1.0, wrong])])
    with pytest.raises(ParityError):
        _compare([np.array([1.0, wrong])], [np.array([1.0, 2.0])])


def test_probabilities_may_differ_by_the_absolute_tolerance() -> None:
    probabilities = np.array([[0.0, 1.0], [0.3, 0.7]])
    label = np.array([1.0, 1.0])
    _compare([probabilities, label], [probabilities + 4e-6, label], CLASSES)
    with pytest.raises(ParityError, match=r"probabilities\[0\]"):
        _compare([probabilities, label], [probabilities + np.array([6e-6, 0]), label], CLASSES)


def test_labels_must_be_equal_but_for_ties() -> None:
    clear = np.array([[0.4999, 0.5001]])
    tie = np.array([[0.5 - 1e-9, 0.5 + 1e-9]])
    _compare([tie, np.array([1.0])], [tie, np.array([0.0])], CLASSES)
    with pytest.raises(ParityError, match=r"label +yes +no"):
        _compare([clear, np.array([1.0])], [clear, np.array([0.0])], CLASSES)
    with pytest.raises(ParityError, match=r"label +yes +7"):
        _compare([tie, np.array([1.0])], [tie, np.array([7.0])], CLASSES)


def test_labels_without_probabilities_must_be_equal() -> None:
    with pytest.raises(ParityError):
        _compare([np.array([1.0])], [np.array([0.0])], CLASSES[1:])


def test_both_must_refuse_the_same_rows() -> None:
    values = np.array([1.0, np.nan])
    report = _compare([values], [values], refused=[1], errors=[1])
    assert report.rows_refused == 1
    with pytest.raises(ParityError, match=r"refused +scored"):
        _compare([values], [np.array([1.0, 2.0])], refused=[1])
    with pytest.raises(ParityError, match=r"scored +refused"):
        _compare([np.array([1.0, 2.0])], [values], errors=[1])


def test_the_table_names_row_origin_change_output_and_distance() -> None:
    fitted = np.array([0.0, 2.0, 1.0])
    with pytest.raises(ParityError) as failure:
        _compare([fitted], [fitted + np.array([0, 0, 0.5])], hard=1)
    text = str(failure.value)
    assert "differ in 1 of 3 rows (huge 1 of 1)" in text
    assert "no bundle was written" in text
    header, line = text.splitlines()[1:3]
    assert header.split("  ")[0] == "row"
    assert line.split() == ["2", "huge", "age", "=", "1e+30", "value", "1", "1.5", "5e+04"]


def test_the_table_shows_the_worst_rows_and_counts_the_others() -> None:
    fitted = np.zeros(50)
    fitted[0] = 1
    with pytest.raises(ParityError) as failure:
        _compare([fitted], [fitted + np.arange(50)])
    lines = str(failure.value).splitlines()
    rows = [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]
    assert rows == list(range(49, 29, -1))
    assert "... and 29 rows more" in lines


def _scorer(run: Any) -> Scorer:
    schema = schema_pb2.Schema()
    schema.features.add(
        name="age", kind=schema_pb2.FEATURE_KIND_NUMBER, missing_allowed=False, magnitude_limit=np.inf
    )
    schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    coding = manifest_pb2.Coding()
    coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_DOUBLE).columns.add(number=0)
    return Scorer(schema, coding, checked_shapes(run, VALUE))


def _rows(count: int) -> WireRows:
    return WireRows(np.arange(count, dtype=np.float64).reshape(-1, 1), np.empty((count, 0), dtype=object))


def test_rows_are_scored_in_parts_and_errors_keep_their_rows() -> None:
    rows = _rows(5_001)
    rows.numbers[[7, 4_500]] = np.nan
    scores = score_rows(_scorer(lambda _, feeds: [feeds["features"] * 2]), rows)
    assert scores.refused == [7, 4_500]
    np.testing.assert_array_equal(scores.outputs[0], rows.numbers * 2)


def test_scores_that_depend_on_the_order_are_found() -> None:
    def run(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [np.arange(len(feeds["features"]), dtype=np.float64)]

    with pytest.raises(ParityError, match="in another order.*no power, product or sum"):
        score_rows(_scorer(run), _rows(5))


def test_a_little_that_depends_on_the_order_may_be_allowed() -> None:
    def run(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [1e6 + 6.0 * np.arange(len(feeds["features"]), dtype=np.float64)]

    with pytest.raises(ParityError, match=r"If 1\.2 times .* --tolerance value=6e-06 on the command") as e:
        score_rows(_scorer(run), _rows(2))
    assert 'tolerance={"value": Tolerance(relative=6e-06, absolute=None)}' in str(e.value)
    assert score_rows(_scorer(run), _rows(2), {"value": Tolerance(6e-6)}).outputs[0].shape == (2, 1)


def test_scores_that_depend_on_the_other_rows_are_found() -> None:
    def run(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [feeds["features"] + len(feeds["features"])]

    with pytest.raises(ParityError, match="one by one"):
        score_rows(_scorer(run), _rows(5))


def test_outputs_of_another_shape_are_found() -> None:
    with pytest.raises(ParityError, match=r"'value' has shape \(1, 5\), expected \(5, 1\)"):
        score_rows(_scorer(lambda _, feeds: [feeds["features"].T]), _rows(5))
