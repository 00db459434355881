from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from scorewire_training.export import export_bundle
from scorewire_training.game_revenue.candidates import (
    build_candidates,
    encode_folds,
    fit_candidate,
    make_loss,
)
from scorewire_training.game_revenue.data import FEATURES, TEXTS, Part
from scorewire_training.game_revenue.generate import generate_users
from scorewire_training.study.candidates import Candidate

CANDIDATES = build_candidates(0)


def _draw(candidate: Candidate) -> dict[str, object]:
    sampler = optuna.samplers.RandomSampler(seed=3)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return dict(candidate.suggest(optuna.create_study(sampler=sampler).ask()))


@pytest.fixture(scope="module")
def users() -> Part:
    """Synthetic users, and one country with ten thousand times the revenue of another."""
    table = generate_users(2_500, seed=4)
    rich = table["country"] == "se"
    table.loc[rich, "revenue"] *= 10_000.0
    return Part(
        table[list(FEATURES)].astype({"event_1": float, "event_2": float}), table["revenue"].to_numpy()
    )


@pytest.fixture(scope="module")
def fit(users: Part) -> Callable[[Candidate], Pipeline]:
    fitted: dict[str, Pipeline] = {}

    def fit_once(candidate: Candidate) -> Pipeline:
        if candidate.name not in fitted:
            fitted[candidate.name] = fit_candidate(candidate, _draw(candidate), users, seed=0)
        return fitted[candidate.name]

    return fit_once


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_every_candidate_is_exported_exactly(
    candidate: Candidate, fit: Callable[[Candidate], Pipeline], users: Part, tmp_path: Path
) -> None:
    bundle = export_bundle(
        fit(candidate), sample=users.features, name="candidate", version="1.0.0", output_dir=tmp_path
    )
    assert bundle.parity.rows_compared > 2_500
    # With a margin, because XGBoost adds in single precision and the others in double.
    assert bundle.parity.worst_share_of_tolerance < (0.5 if "xgboost" in candidate.name else 1e-3)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_no_candidate_predicts_below_zero(
    candidate: Candidate, fit: Callable[[Candidate], Pipeline], users: Part
) -> None:
    holes = users.features.assign(event_1=np.nan, event_2=np.nan, event_3=np.nan)
    texts = users.features.assign(**dict.fromkeys(TEXTS, "never heard of"))
    for rows in (users.features, holes, texts, holes.assign(event_2=-5.0), texts.assign(event_2=1e9)):
        predictions = fit(candidate).predict(rows)
        assert (predictions >= 0).all()
        assert np.isfinite(predictions).all()


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_an_unseen_country_is_an_ordinary_one_even_where_one_country_has_the_money(
    candidate: Candidate, fit: Callable[[Candidate], Pipeline], users: Part
) -> None:
    rows = users.features.head(100).assign(country_region="", event_1=0.0, event_2=100.0, event_3=0.0)
    ordinary = [country for country in users.features["country"].unique() if country != "se"]
    means = [float(fit(candidate).predict(rows.assign(country=country)).mean()) for country in ordinary]
    unseen = float(fit(candidate).predict(rows.assign(country="zz")).mean())
    assert min(means) <= unseen <= max(means)
    assert fit(candidate).predict(rows.assign(country="se")).mean() > 20 * max(means)


def test_a_fold_is_encoded_by_its_own_training_rows(users: Part) -> None:
    encoded = encode_folds(users, 4, seed=0)
    assert len(encoded.rows) == len(encoded.target) == 4 * 2_500
    assert sorted(np.concatenate([rows for fold in encoded.folds for rows in fold])) == list(range(10_000))
    revenues = [np.sort(np.concatenate([encoded.target[a], encoded.target[b]])) for a, b in encoded.folds]
    for revenue in revenues:
        np.testing.assert_array_equal(revenue, np.sort(users.revenue))
    validated = np.concatenate([encoded.target[rows] for _, rows in encoded.folds])
    np.testing.assert_array_equal(np.sort(validated), np.sort(users.revenue))
    # The revenue of the validation rows does not change the encoding of a fold.
    changed = Part(users.features, users.revenue.copy())
    first = encoded.folds[0][1]
    same = np.isin(users.revenue, encoded.target[first])
    changed.revenue[same & (users.revenue > 0.5) & (users.revenue < 0.9)] *= 1.01
    again = encode_folds(changed, 4, seed=0)
    pd.testing.assert_frame_equal(again.rows.iloc[first], encoded.rows.iloc[first])


def test_the_loss_is_that_of_the_constant_as_a_share() -> None:
    truth = np.array([0.0, 0.0, 0.02, 0.1, 5.0, 20_000.0])
    loss = make_loss(0.01)
    assert loss(truth, np.full(6, 0.01)) == pytest.approx(1.0)
    assert loss(truth, truth) == 0
    # Halving every error in dollars halves the two views in dollars.
    near = (truth + 0.01) / 2
    assert 1 / 3 < loss(truth, near) < 0.5
    # A very large user that all models miss dominates one of three views, not all.
    missed = truth.copy()
    missed[-1] = 0.01
    assert loss(truth, missed) == pytest.approx((1.0 + 0.0 + 14.5 / 22.0) / 3, abs=0.1)
    assert make_loss(0.0)(np.zeros(3), np.ones(3)) == 1.0
