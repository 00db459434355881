from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_training.errors import TrainingError
from scorewire_training.repurchase import RepurchaseConfig, train_repurchase
from scorewire_training.repurchase import model as repurchase_model
from scorewire_training.repurchase.features import build_features
from scorewire_training.trained_model import TrainedModel
from tests.scorewire_training.repurchase.shop import FIRST_DAY, LAST_DAY, make_lines


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RepurchaseConfig:
    folder = tmp_path_factory.mktemp("repurchase")
    make_lines().to_parquet(folder / "shop.parquet")
    return RepurchaseConfig(data=folder / "shop.parquet", output_dir=folder / "models", version="1.2.0")


@pytest.fixture(scope="module")
def trained(config: RepurchaseConfig) -> TrainedModel:
    return train_repurchase(config)


def test_a_run_leaves_a_bundle_with_its_metrics(trained: TrainedModel, config: RepurchaseConfig) -> None:
    bundle = read_bundle(config.output_dir / "repurchase" / "1.2.0")
    assert bundle.path == trained.export.path
    assert dict(bundle.manifest.metrics) == trained.metrics
    features = {feature.name: feature for feature in bundle.manifest.schema.features}
    assert list(features) == list(trained.sample.columns)
    assert all(feature.description for feature in features.values())
    assert features["country"].vocabulary_size == 3
    assert features["country"].unknown_allowed


def test_the_model_is_judged_on_the_rows_that_are_given_back(trained: TrainedModel) -> None:
    scores = trained.pipeline.predict_proba(trained.test)[:, 1]
    assert len(trained.test) == len(trained.target) == trained.metrics["test_rows"]
    assert np.mean((scores - trained.target) ** 2) == pytest.approx(trained.metrics["brier"])
    assert trained.metrics["auc_low"] < trained.metrics["auc"] < trained.metrics["auc_high"]
    assert trained.metrics["auc"] > 0.6
    assert {"auc_recency_baseline", "auc_frequency_baseline", "auc_monetary_baseline"} <= set(trained.metrics)


def test_no_customer_of_the_test_is_in_training_and_no_label_reaches_beyond_the_test_cut(
    config: RepurchaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[pd.Timestamp, pd.DataFrame]] = []
    labelled: list[tuple[pd.Timestamp, set[str]]] = []
    build_labels = repurchase_model.build_labels

    def watch_features(lines: pd.DataFrame, cut: pd.Timestamp) -> pd.DataFrame:
        built.append((cut, build_features(lines, cut)))
        return built[-1][1]

    def watch_labels(lines: pd.DataFrame, customers: pd.Index[str], cut: pd.Timestamp, days: int) -> object:
        labelled.append((cut, set(customers)))
        return build_labels(lines, customers, cut, days)

    class Stopped(Exception):  # noqa: N818 - it is no error
        pass

    def stop(*args: object) -> None:
        raise Stopped

    monkeypatch.setattr(repurchase_model, "build_features", watch_features)
    monkeypatch.setattr(repurchase_model, "build_labels", watch_labels)
    monkeypatch.setattr(repurchase_model, "_build_pipeline", stop)
    with pytest.raises(Stopped):
        train_repurchase(replace(config, version="9.0.0"))

    *training, (test_cut, test_customers) = labelled
    assert test_cut == LAST_DAY - pd.Timedelta(days=90)
    assert [cut for cut, _ in training] == [
        test_cut - pd.Timedelta(days=days) for days in (90, 120, 150, 180)
    ]
    assert all(cut >= FIRST_DAY + pd.Timedelta(days=90) for cut, _ in training)
    assert test_customers
    assert all(customers and customers.isdisjoint(test_customers) for _, customers in training)


def test_the_same_seed_gives_the_same_model(trained: TrainedModel, config: RepurchaseConfig) -> None:
    sample = trained.sample
    labels = np.arange(len(sample)) % 2
    once, again = (
        repurchase_model._build_pipeline(sample, config.seed).fit(sample, labels).predict_proba(sample)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)


def test_a_version_that_exists_is_refused_before_anything_is_read(
    trained: TrainedModel, config: RepurchaseConfig
) -> None:
    with pytest.raises(TrainingError, match=r"1\.2\.0 exists, .* choose another version"):
        train_repurchase(replace(config, data=Path("nowhere.csv")))


@pytest.mark.parametrize("cut", [date(2020, 6, 28), date(2020, 10, 3)])
def test_a_cut_without_a_full_horizon_on_both_sides_is_refused(config: RepurchaseConfig, cut: date) -> None:
    with pytest.raises(TrainingError, match=rf"the cut {cut} is not from 2020-06-29 to 2020-10-02"):
        train_repurchase(replace(config, version="9.0.0", cut=cut))


def test_a_horizon_that_the_data_cannot_hold_is_refused(config: RepurchaseConfig) -> None:
    with pytest.raises(TrainingError, match="pass a shorter horizon or more data"):
        train_repurchase(replace(config, version="9.0.0", horizon_days=200))


def test_too_few_customers_are_refused(config: RepurchaseConfig, tmp_path: Path) -> None:
    make_lines(20).to_parquet(tmp_path / "small.parquet")
    with pytest.raises(TrainingError, match="part has .* rows .* pass more data"):
        train_repurchase(replace(config, version="9.0.0", data=tmp_path / "small.parquet"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"horizon_days": 0}, "horizon_days is 0"),
        ({"version": "one"}, "version 'one' is not semantic"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        RepurchaseConfig(**setting)  # type: ignore[arg-type]  # on purpose
