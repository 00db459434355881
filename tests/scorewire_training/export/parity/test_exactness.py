"""The gate asks the kernel for right scores, and tells where they have the bits of the model's library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from scorewire_contract.bundle import read_bundle
from scorewire_contract.coding import RowError
from scorewire_contract.scoring import RunGraph
from scorewire_proto.v1 import schema_pb2
from scorewire_training import export_bundle
from scorewire_training.export import ParityError, bundling
from scorewire_training.export.frames import WireRows
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.kernel import open_in_kernel
from scorewire_training.export.lowering import lower
from scorewire_training.export.parity.exactness import compare_kernel, in_runs_of_any_size, same_bits
from scorewire_training.export.parity.fitted_model import FittedScores
from scorewire_training.export.parity.gate import BundleScores, ParityReport, compare
from scorewire_training.export.parity.golden import pick_golden
from scorewire_training.export.parity.hard_rows import ComparisonRows

OUTPUTS = [ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="value", width=2)]
BESIDE = float(np.nextafter(2.0, 3.0))


def rows(count: int) -> ComparisonRows:
    nothing = WireRows(np.zeros((count, 0)), np.zeros((count, 0), dtype=object))
    return ComparisonRows(nothing, ("sample",) * count, ("x = 1.0",) * count)


def compared(
    found: NDArray[np.float64], wanted: NDArray[np.float64], *, compares_bits: bool = True
) -> ParityReport:
    fitted = FittedScores([wanted], np.isnan(wanted).all(axis=1))
    given = rows(len(wanted))
    refused = [RowError(row, 1, "", "") for row in np.flatnonzero(fitted.refused)]
    own = compare(given, fitted, BundleScores([wanted], refused), OUTPUTS)
    kernel = BundleScores([found], refused)
    return compare_kernel(own, given, fitted, kernel, OUTPUTS, tolerances={}, compares_bits=compares_bits)


def test_nan_equals_nan_and_zeros_of_other_signs_differ() -> None:
    one = np.array([1.0, np.nan, 0.0, np.inf, np.nan, 1.0])
    other = np.array([1.0, np.nan, -0.0, np.inf, 1.0, np.nextafter(1.0, 2.0)])
    assert same_bits(one, other).tolist() == [True, True, False, True, False, False]


def test_equal_bits_are_told() -> None:
    wanted = np.array([[1.0, np.nan], [2.0, np.inf]])
    assert compared(wanted.copy(), wanted).exact


def test_a_differing_bit_within_the_tolerance_is_counted() -> None:
    report = compared(np.array([[1.0, 5.0], [7.0, BESIDE]]), np.array([[1.0, 5.0], [7.0, 2.0]]))
    assert (report.rows_with_other_bits, report.exact) == (1, False)
    assert not report.to_message().exact


def test_a_score_outside_of_the_tolerance_is_an_error_of_the_kernel() -> None:
    with pytest.raises(ParityError, match=r"in the kernel, .* differ in 1 of 2 rows"):
        compared(np.array([[1.0, 5.0], [7.0, 2.1]]), np.array([[1.0, 5.0], [7.0, 2.0]]), compares_bits=False)


def test_no_bits_are_claimed_where_they_were_not_compared() -> None:
    report = compared(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]), compares_bits=False)
    assert (report.rows_with_other_bits, report.exact) == (None, False)


def test_rows_that_the_model_refuses_are_not_compared() -> None:
    wanted = np.array([[np.nan, np.nan], [1.0, 2.0]])
    assert compared(np.array([[3.0, 4.0], [1.0, 2.0]]), wanted).exact


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"size": rng.normal(size=300), "weight": np.round(rng.lognormal(size=300), 2)})


@pytest.fixture(scope="module")
def classifier(frame: pd.DataFrame) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=5).fit(frame, frame["size"] > 0)


def export(model: Any, frame: pd.DataFrame, folder: Path, **options: Any) -> bool:
    """Whether the manifest of the export tells equal bits."""
    exported = export_bundle(model, sample=frame, name="m", version="1.0.0", output_dir=folder, **options)
    exact = read_bundle(exported.path).manifest.parity.exact
    assert exact == exported.parity.exact
    return exact


def test_the_manifest_tells_that_trees_have_the_librarys_bits(
    classifier: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path
) -> None:
    pytest.importorskip("scorewire_kernel")
    assert export(classifier, frame, tmp_path)


def test_exact_steps_before_trees_keep_the_claim(frame: pd.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("scorewire_kernel")
    model = make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=5))
    assert export(model.fit(frame, frame["size"]), frame, tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        HistGradientBoostingRegressor(loss="poisson", max_iter=5),
        make_pipeline(PowerTransformer(), LinearRegression()),
        make_pipeline(PCA(), xgboost.XGBRegressor(n_estimators=20)),
    ],
    ids=["sums", "exponentials of NumPy", "powers", "sums before trees"],
)
def test_other_models_do_not_claim_equal_bits(model: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    assert not export(model.fit(frame, frame["weight"]), frame, tmp_path)


def test_nothing_is_claimed_without_the_kernel(
    classifier: xgboost.XGBClassifier,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scorewire_kernel", None)
    assert open_in_kernel(b"") is None
    assert not export(classifier, frame, tmp_path)


def _beside(graph: bytes, factor: float) -> RunGraph | None:
    run = open_in_kernel(graph)
    assert run is not None

    def run_beside(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        shares, *labels = run(names, feeds)
        return [np.nextafter(shares, np.float32(1)) * np.float32(factor), *labels]

    return run_beside


def test_a_kernel_that_is_one_bit_off_ends_the_claim_and_not_the_export(
    classifier: xgboost.XGBClassifier,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("scorewire_kernel")
    monkeypatch.setattr(bundling, "open_in_kernel", partial(_beside, factor=1))
    assert not export(classifier, frame, tmp_path)


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_kernel_with_wrong_scores_stops_the_export(
    is_exact: bool,
    classifier: xgboost.XGBClassifier,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("scorewire_kernel")
    monkeypatch.setattr(bundling, "open_in_kernel", partial(_beside, factor=0.999))
    monkeypatch.setattr(bundling, "lower", lambda *of: replace(lower(*of), is_exact=is_exact))
    with pytest.raises(ParityError, match="in the kernel"):
        export(classifier, frame, tmp_path)


@pytest.mark.parametrize("rows_of_the_fault", [1, 3, 300])
def test_a_kernel_that_scores_rows_otherwise_in_runs_of_another_size_stops_the_export(
    rows_of_the_fault: int,
) -> None:
    def run(_: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        (values,) = feeds.values()
        return [np.nextafter(values, np.inf) if len(values) <= rows_of_the_fault else values]

    values = np.linspace(1, 2, 1_025).reshape(-1, 1)
    with pytest.raises(ParityError, match=r"differently in runs of 512 and of \d+"):
        in_runs_of_any_size(run)(["value"], {"value": values})


def test_runs_of_any_size_give_the_scores_of_one_run() -> None:
    sizes = []

    def run(_: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        sizes.append(len(feeds["value"]))
        return [feeds["value"] * 2, feeds["value"] > 1]

    values = np.arange(700.0).reshape(-1, 1)
    doubled, over = in_runs_of_any_size(run)(["double", "over"], {"value": values})
    assert (doubled == values * 2).all()
    assert (over == (values > 1)).all()
    assert {512, 188, 256, 64, 16, 4, 1} <= set(sizes)


def test_a_linear_model_is_compared_in_the_kernel_too(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("scorewire_kernel")
    monkeypatch.setattr(bundling, "open_in_kernel", _far_beside)
    with pytest.raises(ParityError, match="in the kernel"):
        export(LinearRegression().fit(frame, frame["weight"]), frame, tmp_path)


def _far_beside(graph: bytes) -> RunGraph | None:
    run = open_in_kernel(graph)
    assert run is not None
    return lambda names, feeds: [values + 1000 for values in run(names, feeds)]


def test_a_golden_row_is_no_tie_of_the_kernel() -> None:
    output = ModelOutput(
        name="label",
        kind=schema_pb2.OUTPUT_KIND_CLASS,
        tensor="label",
        width=1,
        class_labels=("a", "b"),
    )
    numbers = np.arange(3.0).reshape(-1, 1)
    given = ComparisonRows(WireRows(numbers, np.zeros((3, 0), dtype=object)), ("sample",) * 3, ("",) * 3)
    classes = np.array([[0.0], [1.0], [0.0]])
    fitted = FittedScores([classes], np.zeros(3, dtype=np.bool_))
    same, other = BundleScores([classes], []), BundleScores([np.zeros((3, 1))], [])
    report = compare(given, fitted, same, [output])
    golden = pick_golden(given, fitted, [same, other], [output], report)
    assert list(golden.rows.numbers) == [0.0, 2.0]


def test_a_forest_of_several_threads_is_exported(frame: pd.DataFrame, tmp_path: Path) -> None:
    """The forest adds its trees in the order in which threads end, so its own last bits vary."""
    forest = RandomForestRegressor(n_estimators=60, n_jobs=2, random_state=0)
    export(forest.fit(frame, np.exp(frame["size"])), frame, tmp_path)
