from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from scorewire_training.game_revenue import GameRevenueConfig, train_game_revenue
from scorewire_training.game_revenue import model as model_module
from scorewire_training.game_revenue.candidates import build_candidates, fit_candidate, make_loss
from scorewire_training.game_revenue.data import TEXTS, Part, Partition, partition_users, read_users
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.game_revenue.sections import (
    ablate_texts,
    measure_stratified_curve,
    show_countries,
    show_deciles,
    show_hurdle,
    show_unseen_country,
    show_without_events,
)
from scorewire_training.output.publishing import TrainedModel
from scorewire_training.training_result import PredictionKind, TrainingResult

HURDLE = build_candidates(0)[0]
PARAMETERS = {"penalty": 1.0, "hurdle_penalty": 0.1}


def _fit(part: Part) -> Pipeline:
    return fit_candidate(HURDLE, PARAMETERS, part, seed=0)


@pytest.fixture(scope="module")
def partition(tmp_path_factory: pytest.TempPathFactory) -> Partition:
    path = tmp_path_factory.mktemp("sections") / "users.csv"
    users = generate_users(3_000, seed=6)
    # Without purchases, revenue is a rate of the country for each event, as advertisements pay.
    users.loc[users["event_1"] > 0, "revenue"] = 0.0
    users.to_csv(path, index=False)
    return partition_users(read_users(path, seed=0)[0], seed=0)


def test_a_training_result_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[TrainingResult] = []

    def keep(result: TrainingResult, *args: object, **options: object) -> TrainedModel:
        results.append(result)
        return None  # type: ignore[return-value]  # nothing is written

    monkeypatch.setattr(model_module, "publish", keep)
    generate_users(1_500, seed=5).to_csv(tmp_path / "users.csv", index=False)
    config = GameRevenueConfig(data=tmp_path / "users.csv", output_dir=tmp_path, trials=1)
    told: list[str] = []
    train_game_revenue(config, progress=told.append)
    (result,) = results
    assert result.kind is PredictionKind.AMOUNT
    assert [candidate.name for candidate in result.candidates] == [
        candidate.name for candidate in build_candidates(0)
    ]
    assert result.chosen in [candidate.name for candidate in result.candidates]
    assert all(len(candidate.fold_losses) == 4 for candidate in result.candidates)
    assert len(result.sample) == len(result.sample_target) == 0.85 * 1_500
    np.testing.assert_array_equal(result.predictions, result.pipeline.predict(result.test))
    assert result.learning_curve.rows[-1] == 0.7 * 1_500
    titles = [section.title for section in result.sections]
    assert {
        "Calibration",
        "Countries",
        "Users without events",
        "Ablation of the text columns",
        "An unseen country",
    } <= set(titles)
    assert ("Will there be revenue" in titles) == result.chosen.startswith("hurdle")
    assert any(f"chosen: {result.chosen}" in sentence for sentence in result.evaluation_protocol)
    assert "of one country" in result.limits[0]
    assert any("trial 1 of 1" in sentence for sentence in told)
    # The result does not depend on earlier runs.
    train_game_revenue(replace(config, version="1.0.1"))
    assert results[1].metrics == result.metrics


def test_deciles_and_countries_hold_every_test_user(partition: Partition) -> None:
    predictions = partition.test.revenue * 2.0
    deciles = show_deciles(partition.test, predictions).table
    np.testing.assert_allclose(deciles["predicted"], deciles["actual"] * 2.0)
    countries = show_countries(partition.test, predictions, constant=0.0).table
    assert countries["users"].sum() == deciles["rows"].sum() == len(partition.test.revenue)
    np.testing.assert_allclose(countries["error"], countries["actual"])
    np.testing.assert_allclose(countries["error of the median"], countries["actual"])
    assert "others" in countries.index
    assert countries["users"].is_monotonic_decreasing


def test_a_column_that_tells_much_adds_loss_when_it_is_left_out(partition: Partition) -> None:
    loss = make_loss(float(np.median(partition.training.revenue)))
    told: list[str] = []
    table = ablate_texts(
        _fit, partition.training, partition.validation, loss=loss, seed=0, progress=told.append
    ).table
    assert table.index.tolist() == ["none", *TEXTS, "all six"]
    assert table.loc["country", "low"] > 0
    assert table.loc["all six", "loss added"] >= table.loc["source", "loss added"]
    assert table.loc["source", "low"] <= 0.02
    assert (table["low"] <= table["high"]).all()
    assert len(told) == 8


def test_more_users_teach_more(partition: Partition) -> None:
    loss = make_loss(float(np.median(partition.training.revenue)))
    curve = measure_stratified_curve(
        _fit, partition.training, partition.validation, loss=loss, seed=0, progress=lambda _: None
    )
    assert curve.rows.tolist() == [210, 420, 840, 1_470, 2_100]
    assert curve.validation[-1] < curve.validation[0]
    assert curve.training.shape == curve.validation.shape == (5,)


def test_only_a_hurdle_shows_probabilities(partition: Partition) -> None:
    pipeline = _fit(partition.training)
    (section,) = show_hurdle(pipeline, partition.test)
    assert section.table["predicted"].between(0, 1).all()
    assert section.table["predicted"].is_monotonic_increasing
    assert section.table["actual"].iloc[-1] > 0.9
    other = fit_candidate(
        build_candidates(0)[1], {"shift": 0.1, "n_estimators": 10}, partition.training, seed=0
    )
    assert show_hurdle(other, partition.test) == ()


def test_an_unseen_country_is_shown_beside_known_ones(partition: Partition) -> None:
    pipeline = _fit(partition.training)
    table = show_unseen_country(pipeline, partition.training).table
    assert table.index[-1] == "unseen"
    assert table.loc["unseen", "users"] == 0
    known = table["predicted"].iloc[:-1]
    assert known.min() < table.loc["unseen", "predicted"] < known.max()
    assert table["users"].iloc[:-1].is_monotonic_decreasing


def test_users_without_events_get_one_small_prediction_that_is_not_zero(partition: Partition) -> None:
    pipeline = _fit(partition.training)
    section = show_without_events(pipeline, partition.training, partition.test)
    assert section.units == {"with revenue": "%", "actual": "$", "predicted": "$"}
    idle = (partition.test.features[["event_2", "event_3"]].fillna(0) == 0).all(axis=1).to_numpy()
    assert section.table.loc["test", "users"] == idle.sum() > 100
    assert section.table.loc["test", "actual"] == partition.test.revenue[idle].mean()
    predictions = pipeline.predict(partition.test.features)
    assert set(predictions[idle]) == {section.table.loc["test", "predicted"]}
    assert 0 < predictions[idle][0] < 0.01
    assert predictions[idle][0] <= predictions[~idle].min() * 2


def test_the_share_with_revenue_is_of_users_with_events(partition: Partition) -> None:
    (section,) = show_hurdle(_fit(partition.training), partition.test)
    with_events = (partition.test.features[["event_2", "event_3"]] > 0).any(axis=1)
    assert section.table["rows"].sum() == with_events.sum()
    assert (section.table["actual"] > 0.9).all()
