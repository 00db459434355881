from __future__ import annotations

import io
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from scorewire_contract.bundle import read_bundle
from scorewire_training.errors import TrainingError
from scorewire_training.output.publishing import TrainedModel
from scorewire_training.repurchase import RepurchaseConfig, train_repurchase
from scorewire_training.repurchase import model as repurchase_model
from scorewire_training.repurchase.model import fit_repurchase, predict_probability
from scorewire_training.training_result import TrainingResult
from tests.scorewire_training.repurchase.shop import LAST_DAY, make_lines

TEST_CUT = LAST_DAY - pd.Timedelta(days=90)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RepurchaseConfig:
    folder = tmp_path_factory.mktemp("repurchase")
    make_lines().to_parquet(folder / "shop.parquet")
    return RepurchaseConfig(
        data=folder / "shop.parquet", output_dir=folder / "models", version="1.2.0", trials=1
    )


@pytest.fixture(scope="module")
def trained(config: RepurchaseConfig) -> TrainedModel:
    return train_repurchase(config)


@pytest.fixture(scope="module")
def result(config: RepurchaseConfig) -> TrainingResult:
    return fit_repurchase(config, progress=lambda _: None)


def test_a_run_leaves_a_bundle_with_its_metrics(
    trained: TrainedModel, result: TrainingResult, config: RepurchaseConfig
) -> None:
    bundle = read_bundle(config.output_dir / "repurchase" / "1.2.0")
    assert bundle.path == trained.export.path
    # The same seed gives the same metrics.
    assert dict(bundle.manifest.metrics) == dict(result.metrics)
    features = {feature.name: feature for feature in bundle.manifest.schema.features}
    assert list(features) == list(result.sample.columns)
    assert all(feature.description for feature in features.values())
    assert features["country"].vocabulary_size == 3
    assert features["country"].unknown_allowed


def test_the_features_of_every_customer_of_today_are_beside_the_folder_of_models(
    trained: TrainedModel, result: TrainingResult, config: RepurchaseConfig
) -> None:
    (path,) = trained.private_files
    assert path == config.output_dir.parent / "models-private" / "repurchase" / "1.2.0" / "features.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert content == result.private_files["features.parquet"]
    table = parquet.read_table(io.BytesIO(content)).to_pandas()
    assert len(table) == make_lines()["customer"].nunique()
    # The pipeline takes the columns by name.
    probabilities = predict_probability(result.pipeline, table[list(result.sample.columns)])
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_no_file_of_a_bundle_and_nothing_in_mlflow_names_a_customer(
    config: RepurchaseConfig, tmp_path: Path
) -> None:
    lines = make_lines()
    lines["customer"] = "shopper-" + lines["customer"]
    lines.to_parquet(tmp_path / "shop.parquet")
    models, store = tmp_path / "models", tmp_path / "mlflow.db"
    trained = train_repurchase(
        replace(
            config,
            data=tmp_path / "shop.parquet",
            output_dir=models,
            mlflow_uri=f"sqlite:///{store}",
        )
    )
    (private,) = trained.private_files
    assert models not in private.parents
    assert parquet.read_table(private)["customer"][0].as_py().startswith("shopper-")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != private]
    assert trained.export.path / "report.html" in written
    logged = {path.name for path in written if "artifacts" in path.parts}
    assert logged == {path.name for path in trained.export.path.iterdir()}
    for path in written:
        if path.name != "shop.parquet":
            assert path.suffix != ".parquet"
            assert b"shopper-" not in path.read_bytes(), path


def test_a_place_for_private_files_that_cannot_be_written_is_refused_before_anything_is_read(
    config: RepurchaseConfig, tmp_path: Path
) -> None:
    (tmp_path / "models-private").write_text("")
    with pytest.raises(TrainingError, match="models-private cannot be written, .* choose an --output"):
        train_repurchase(replace(config, output_dir=tmp_path / "models", data=Path("nowhere.csv")))


def test_the_model_is_evaluated_on_the_rows_that_are_returned(result: TrainingResult) -> None:
    metrics = result.metrics
    assert len(result.test) == len(result.target) == metrics["test_rows"]
    assert np.mean((result.predictions - result.target) ** 2) == pytest.approx(metrics["brier"])
    assert metrics["auc_low"] < metrics["auc"] < metrics["auc_high"]
    assert metrics["auc"] > 0.6
    baselines = [metrics[f"auc_{name}_baseline"] for name in ("recency", "frequency", "monetary")]
    assert metrics["auc_lead"] == pytest.approx(metrics["auc"] - max(baselines))


def test_all_customers_at_the_test_cutoff_are_evaluated(result: TrainingResult) -> None:
    lines = make_lines()
    assert len(result.test) == lines.loc[lines["time"] < TEST_CUT, "customer"].nunique()
    np.testing.assert_array_equal(result.predictions, predict_probability(result.pipeline, result.test))


def test_nothing_after_the_test_cutoff_changes_the_model(
    result: TrainingResult, config: RepurchaseConfig
) -> None:
    lines = make_lines()
    after = lines["time"] >= TEST_CUT
    rng = np.random.default_rng(0)
    changed = lines.copy()
    for column in ("customer", "amount", "product"):
        changed.loc[after, column] = rng.permutation(lines.loc[after, column])
    changed.loc[after & (changed["customer"] < "00050"), "customer"] = "newcomer"
    changed.to_parquet(path := config.output_dir.parent / "shuffled.parquet")
    again = fit_repurchase(replace(config, data=path, cut=TEST_CUT.date()), progress=lambda _: None)
    pd.testing.assert_frame_equal(again.test, result.test)
    pd.testing.assert_frame_equal(again.sample, result.sample)
    np.testing.assert_array_equal(again.predictions, result.predictions)
    # The truth comes from after the cutoff.
    assert (again.target != result.target).any()


def test_unseen_customers_are_scored_by_models_without_their_rows(
    result: TrainingResult, config: RepurchaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[pd.Series[int]] = []
    draw_groups = repurchase_model.draw_groups

    def watch(customers: np.ndarray[tuple[int], np.dtype[np.object_]], seed: int) -> object:
        drawn = draw_groups(customers, seed)
        groups.append(pd.Series(drawn, index=customers))
        return drawn

    monkeypatch.setattr(repurchase_model, "draw_groups", watch)
    other = fit_repurchase(replace(config, seed=1), progress=lambda _: None)
    # One draw for training and test rows, so a customer is in the same group in both.
    (drawn,) = groups
    assert len(drawn) == len(other.sample) + len(other.test)
    assert (drawn.groupby(level=0).nunique() == 1).all()
    assert 0.5 < other.metrics["auc_unseen_low"] < other.metrics["auc_unseen"]
    # Another seed gives another model.
    assert (other.predictions != result.predictions).any()


def test_the_result_describes_its_evaluation_protocol(result: TrainingResult) -> None:
    text = " ".join(result.evaluation_protocol)
    assert "Transactions are from 2020-01-01 to 2020-12-31" in text
    assert f"Evaluated on all customers at {TEST_CUT.date()}" in text
    assert f"complete at {TEST_CUT.date()}" in text
    assert "2020-07-04" in text
    assert [step.name for step in result.steps][:2] == ["customer", "time"]
    assert result.chosen in {candidate.name for candidate in result.candidates}
    assert list(result.feature_descriptions) == list(result.sample.columns)
    assert len(result.candidates) == 5
    assert len(result.learning_curve.rows) >= 3


def test_sections_tell_of_every_test_row(result: TrainingResult) -> None:
    segments, reliability, families = (section.table for section in result.sections)
    assert segments["customers"].sum() == len(result.test)
    overall = (segments["mean_probability"] * segments["share"]).sum()
    assert overall == pytest.approx(result.predictions.mean())
    assert reliability["rows"].sum() == len(result.test)
    assert reliability["mean_probability"].is_monotonic_increasing
    assert families["features"].sum() == result.test.shape[1]
    for section in result.sections:
        assert set(section.chart) <= set(section.table.columns)


def test_the_feature_table_is_of_the_day_after_the_last_line(result: TrainingResult) -> None:
    schema = parquet.read_schema(io.BytesIO(result.private_files["features.parquet"]))
    assert schema.metadata[b"cut"] == b"2021-01-01T00:00:00"
    assert schema.metadata[b"horizon_days"] == b"90"


def test_a_version_that_exists_is_refused_before_anything_is_read(
    trained: TrainedModel, config: RepurchaseConfig
) -> None:
    with pytest.raises(TrainingError, match=r"1\.2\.0 exists, .* choose another version"):
        train_repurchase(replace(config, data=Path("nowhere.csv")))


def test_too_few_customers_are_refused(config: RepurchaseConfig, tmp_path: Path) -> None:
    make_lines(8).to_parquet(tmp_path / "small.parquet")
    with pytest.raises(TrainingError, match=r"part has .* rows .* pass more data"):
        train_repurchase(replace(config, version="9.0.0", data=tmp_path / "small.parquet"))
