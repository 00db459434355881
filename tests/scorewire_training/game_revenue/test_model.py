from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue import GameRevenueConfig, train_game_revenue
from scorewire_training.game_revenue.data import FEATURES, TEXTS
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.output.publishing import TrainedModel


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GameRevenueConfig:
    folder = tmp_path_factory.mktemp("game_revenue")
    generate_users(3_000, seed=5).to_csv(folder / "users.csv", index=False)
    return GameRevenueConfig(data=folder / "users.csv", output_dir=folder / "models", trials=2)


@pytest.fixture(scope="module")
def trained(config: GameRevenueConfig) -> TrainedModel:
    return train_game_revenue(config)


def test_a_run_leaves_a_bundle_that_takes_the_columns_raw(
    trained: TrainedModel, config: GameRevenueConfig
) -> None:
    bundle = read_bundle(config.output_dir / "game-revenue" / "1.0.0")
    assert bundle.path == trained.export.path
    assert dict(bundle.manifest.metrics) == trained.result.metrics
    features = {feature.name: feature for feature in bundle.manifest.schema.features}
    assert list(features) == list(FEATURES)
    assert all(feature.missing_allowed and feature.description for feature in features.values())
    assert all(features[text].unknown_allowed and features[text].vocabulary_size for text in TEXTS)
    # Two systems in four spellings.
    assert features["platform"].vocabulary_size == 2


def test_the_model_is_evaluated_on_the_rows_that_are_returned(trained: TrainedModel) -> None:
    errors = np.abs(trained.result.pipeline.predict(trained.result.test) - trained.result.target)
    assert errors.mean() == pytest.approx(trained.result.metrics["mae"])
    assert np.median(errors) == pytest.approx(trained.result.metrics["median_ae"])
    ordinary = trained.result.target <= 1_000
    assert errors[ordinary].mean() == pytest.approx(trained.result.metrics["mae_ordinary"])
    # With few users, amounts depend on chance and on the releases of the libraries; ranks do not.
    assert trained.result.metrics["median_ae"] < trained.result.metrics["median_ae_mean_baseline"] / 10
    assert trained.result.metrics["mae_mean_baseline"] > trained.result.metrics["mae_constant_baseline"]
    assert trained.result.metrics["spearman_low"] > 0.8
    assert trained.result.metrics["gini_ordinary"] > 0


def test_fitting_sees_no_test_row(trained: TrainedModel) -> None:
    assert len(trained.result.sample) == 0.85 * 3_000
    frequencies = trained.result.pipeline[0].named_transformers_["frequency"]["encode"].frequencies_
    shares = dict(zip(TEXTS, frequencies, strict=True))["device_family"]
    counts = trained.result.sample["device_family"].str.strip().str.lower().value_counts(normalize=True)
    assert shares == pytest.approx(counts.to_dict())


def test_no_prediction_is_negative(trained: TrainedModel) -> None:
    rows = pd.concat([trained.result.test, trained.result.sample])
    rows.loc[:, ["event_1", "event_2", "event_3"]] = np.nan
    for frame in (trained.result.test, rows, rows.assign(event_2=-5.0, country="zz")):
        assert (trained.result.pipeline.predict(frame) >= 0).all()


def test_spelling_of_platform_and_country_does_not_matter(trained: TrainedModel) -> None:
    odd = trained.result.test.assign(
        platform=" " + trained.result.test["platform"].str.upper(),
        country=trained.result.test["country"].str.upper(),
    )
    np.testing.assert_array_equal(
        trained.result.pipeline.predict(odd), trained.result.pipeline.predict(trained.result.test)
    )


def test_an_unseen_country_predicts_within_the_range_of_known_ones(trained: TrainedModel) -> None:
    known = trained.result.sample["country"].unique()
    rows = trained.result.test.head(50).assign(country_region="Nowhere", event_1=0.0, event_2=100.0)
    by_country = np.array(
        [trained.result.pipeline.predict(rows.assign(country=country)) for country in known]
    )
    unseen = trained.result.pipeline.predict(rows.assign(country="zz"))
    assert (unseen <= by_country.max(axis=0)).all()
    assert (unseen >= by_country.min(axis=0)).all()


def test_one_seed_gives_one_model(trained: TrainedModel, config: GameRevenueConfig, tmp_path: Path) -> None:
    again = train_game_revenue(replace(config, output_dir=tmp_path))
    assert again.result.metrics == trained.result.metrics
    assert again.result.evaluation_protocol == trained.result.evaluation_protocol
    for file in ("model.onnx", "golden.json"):
        assert (again.export.path / file).read_bytes() == (trained.export.path / file).read_bytes()


def test_missing_text_is_the_empty_text(trained: TrainedModel) -> None:
    rows = trained.result.test.head(20)
    for missing in (None, np.nan):
        gap = rows.assign(source=pd.Series([missing] * 20, dtype=object))
        np.testing.assert_array_equal(
            trained.result.pipeline.predict(gap), trained.result.pipeline.predict(rows.assign(source=""))
        )


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("event_3", lambda users: users.assign(event_3=np.nan)),
        ("revenue", lambda users: users.assign(revenue=users["revenue"] * 15_000.0 + 5_000.0)),
        ("revenue", lambda users: users.assign(revenue=[1.0] * 30 + [0.0] * 270, event_2=2)),
    ],
    ids=["one event missing", "no ordinary user", "few pay"],
)
def test_an_odd_table_is_trained_on(
    tmp_path: Path, column: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    users = generate_users(300, seed=1)
    odd = change(users)
    assert not odd[column].equals(users[column])
    odd.to_csv(tmp_path / "users.csv", index=False)
    config = GameRevenueConfig(data=tmp_path / "users.csv", output_dir=tmp_path, trials=1)
    trained = train_game_revenue(config)
    assert (trained.result.pipeline.predict(trained.result.test) >= 0).all()
    assert (
        trained.result.metrics["mae_low"]
        <= trained.result.metrics["mae"]
        <= trained.result.metrics["mae_high"]
    )


def test_a_version_that_exists_is_refused_before_anything_is_read(
    trained: TrainedModel, config: GameRevenueConfig
) -> None:
    with pytest.raises(TrainingError, match="exists, and a version never changes"):
        train_game_revenue(replace(config, data=Path("nowhere.csv")))
