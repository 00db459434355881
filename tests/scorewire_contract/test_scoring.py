from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_contract.scoring import GoldenMismatchError, Scorer, score_golden, within_tolerance
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2
from tests.bundles import expected_value, write_classifier_bundle, write_sum_bundle


def _session(bundle: Bundle) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundle.graph, providers=["CPUExecutionProvider"])


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(write_sum_bundle(tmp_path))


def _scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle.manifest.schema, bundle.manifest.coding, _session(bundle).run)


def test_rows_are_scored_and_bad_ones_are_nan(bundle: Bundle) -> None:
    numbers = np.array([1.0, 2.0, math.nan, 2.0, 3.0, math.nan, 1.0, 1e31])
    scores = _scorer(bundle).score(4, numbers, ["de", "de", "PE ", "de"])
    expected = [expected_value([1, 2], "de"), math.nan, expected_value([3], "pe"), math.nan]
    np.testing.assert_array_equal(scores.outputs[0], np.array(expected).reshape(4, 1))
    assert [error.row for error in scores.errors] == [1, 3]
    assert scores.model_ns > 0


def test_the_graph_is_not_run_where_no_row_is_good(bundle: Bundle) -> None:
    def run(*_: object) -> list[np.ndarray]:
        raise AssertionError

    scorer = Scorer(bundle.manifest.schema, bundle.manifest.coding, run)
    scores = scorer.score(1, np.array([math.nan, 1.0]), ["de"])
    assert np.isnan(scores.outputs[0]).all()
    assert scores.outputs[0].shape == (1, 1)


def test_outputs_stand_in_schema_order(tmp_path: Path) -> None:
    bundle = read_bundle(write_classifier_bundle(tmp_path))
    probabilities, label = _scorer(bundle).score(2, np.array([-1.0, 1.0]), []).outputs
    np.testing.assert_allclose(probabilities[:, 1], [1 / (1 + math.e), math.e / (1 + math.e)], rtol=1e-6)
    assert label.tolist() == [[0], [1]]


def test_a_graph_of_another_shape_is_an_error(bundle: Bundle) -> None:
    scorer = Scorer(bundle.manifest.schema, bundle.manifest.coding, lambda *_: [np.zeros((1, 2))])
    with pytest.raises(ValueError, match="reshape"):
        scorer.score(1, np.array([1.0, 1.0]), ["de"])


def test_golden_rows_are_counted(bundle: Bundle) -> None:
    assert score_golden(bundle, _session(bundle).run) == 19


def _with_golden(bundle: Bundle, change: str) -> Bundle:
    golden = manifest_pb2.Golden()
    golden.CopyFrom(bundle.golden)
    if change == "score":
        golden.expected.outputs[0].numbers[0] += 1e-6
    elif change == "nan":
        golden.expected.outputs[0].numbers[0] = math.nan
    elif change == "error too many":
        golden.expected.errors.add(row=2, reason=100, feature="x0")
    elif change == "error too few":
        del golden.expected.errors[:]
    elif change == "no rows":
        golden.Clear()
    elif change == "cut short":
        golden.rows.numbers.pop()
    elif change == "outputs":
        golden.expected.outputs[0].name = "score"
    else:
        golden.expected.outputs[0].numbers.pop()
    return replace(bundle, golden=golden)


@pytest.mark.parametrize(
    "change",
    [
        "score",
        "nan",
        "error too many",
        "error too few",
        "no rows",
        "cut short",
        "outputs",
        "output cut short",
    ],
)
def test_wrong_golden_rows_are_found(bundle: Bundle, change: str) -> None:
    with pytest.raises(GoldenMismatchError, match="golden"):
        score_golden(_with_golden(bundle, change), _session(bundle).run)


def test_tolerance_tells_infinities_and_nan_apart() -> None:
    tolerance = manifest_pb2.Tolerance(relative=0.1, absolute=0.5)
    values = np.array([1.4, 1.7, 11.4, math.inf, math.inf, -math.inf, math.nan, math.nan, 1.0])
    target = np.array([1.0, 1.0, 10.0, math.inf, 1.0, math.inf, math.nan, 1.0, math.nan])
    found = within_tolerance(values, target, tolerance)
    assert found.tolist() == [True, False, True, True, False, False, True, False, False]


@pytest.mark.parametrize("name", ["relative", "absolute"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 1e300, 0.2])
def test_a_tolerance_that_lets_any_score_pass_is_refused(bundle: Bundle, name: str, value: float) -> None:
    setattr(bundle.golden.tolerance, name, value)
    with pytest.raises(GoldenMismatchError, match=f"prove nothing: their {name} tolerance"):
        score_golden(bundle, _session(bundle).run)


def test_an_outputs_own_tolerance_goes_before_that_of_all(bundle: Bundle) -> None:
    changed = _with_golden(bundle, "score")
    changed.golden.output_tolerances["value"].absolute = 1e-5
    assert score_golden(changed, _session(changed).run) == 19
    changed.golden.output_tolerances["value"].absolute = 1e300
    with pytest.raises(GoldenMismatchError, match="prove nothing: their absolute tolerance"):
        score_golden(changed, _session(changed).run)


def test_golden_rows_that_are_all_refused_prove_nothing(tmp_path: Path) -> None:
    bundle = read_bundle(write_sum_bundle(tmp_path))
    golden = bundle.golden
    for row in range(golden.rows.row_count):
        golden.rows.numbers[2 * row] = math.nan
    expected = golden.expected
    del expected.errors[:]
    for row in range(golden.rows.row_count):
        expected.errors.add(row=row, reason=errors_pb2.ERROR_REASON_MISSING_VALUE, feature="x0")
        expected.outputs[0].numbers[row] = math.nan
    with pytest.raises(GoldenMismatchError, match="every one of them is refused"):
        score_golden(bundle, _session(bundle).run)


@pytest.mark.parametrize("labels", [[], ["no"]])
def test_classes_without_labels_are_refused(tmp_path: Path, labels: list[str]) -> None:
    bundle = read_bundle(write_classifier_bundle(tmp_path))
    del bundle.manifest.schema.outputs[1].class_labels[:]
    bundle.manifest.schema.outputs[1].class_labels.extend(labels)
    with pytest.raises(GoldenMismatchError, match="'label' is a class, and has values without a label"):
        score_golden(bundle, _session(bundle).run)
