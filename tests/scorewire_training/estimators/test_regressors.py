from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from lightgbm import LGBMRegressor
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, TweedieRegressor

from scorewire_training.estimators import ExposedRegressor, HurdleRegressor, LogRegressor, RateRegressor


def _draw(rows: int = 4_000) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Log exposures with a column that changes the rate, mean amounts, and amounts around the means."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(3.0, 1.0, rows), rng.normal(0.0, 0.5, rows)])
    mean = np.exp(X[:, 0] + X[:, 1] - 5.0)
    return X, mean, mean * rng.lognormal(-0.18, 0.6, rows)


def test_the_logarithm_is_learnt_and_the_mean_is_answered() -> None:
    X, mean, amounts = _draw()
    model = LogRegressor(LinearRegression()).fit(X, amounts)
    np.testing.assert_allclose(model.predict(X), mean, rtol=0.08)
    # Without smearing the prediction would be the median, 16 % lower.
    assert model.smearing_ == pytest.approx(np.exp(0.18), rel=0.03)


def test_a_shifted_logarithm_takes_zeros_and_never_answers_below_zero() -> None:
    X, _, amounts = _draw()
    amounts[X[:, 0] < 2.5] = 0.0
    model = LogRegressor(LinearRegression(), shift=0.01).fit(X, amounts)
    assert (model.predict(X * 3.0) >= 0).all()
    assert (model.predict(X * 3.0) == 0).any()
    with pytest.raises(ValueError, match="plus the shift, 0.0, is zero"):
        LogRegressor(LinearRegression()).fit(X, amounts)


def test_a_rate_is_multiplied_by_the_exposure() -> None:
    X, mean, amounts = _draw()
    model = RateRegressor(LogRegressor(LinearRegression())).fit(X, amounts)
    np.testing.assert_allclose(model.predict(X), mean, rtol=0.08)
    # Predictions of trees grow with exposures beyond those of training, too.
    trees = RateRegressor(LGBMRegressor(n_estimators=20, n_jobs=1, verbose=-1)).fit(X, amounts)
    far = np.array([[8.0, 0.0], [12.0, 0.0]])
    near, beyond = trees.predict(far)
    assert beyond == pytest.approx(near * np.exp(4.0))


def test_rows_without_exposure_have_no_rate_and_hardly_an_amount() -> None:
    X, _, amounts = _draw()
    idle = X.copy()
    idle[:500, 0] = np.log(1e-300)
    model = RateRegressor(LogRegressor(LinearRegression())).fit(idle, amounts)
    same = RateRegressor(LogRegressor(LinearRegression())).fit(X[500:], amounts[500:])
    np.testing.assert_allclose(model.predict(X), same.predict(X))
    assert (model.predict(idle[:500]) < 1e-200).all()
    with pytest.raises(ValueError, match="no row has an exposure"):
        model.fit(idle[:500], amounts[:500])


def _draw_idle(brought: list[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `_draw`, with a column for whether there is exposure, and rows without that `brought` these."""
    X, _, amounts = _draw()
    idle = np.column_stack([np.full(len(brought), np.log(1e-200)), np.zeros((len(brought), 2))])
    some = np.column_stack([X[:, 0], np.ones(len(X)), X[:, 1]])
    return np.concatenate([some, idle]), np.concatenate([amounts, brought])


@pytest.mark.parametrize(
    ("brought", "expected"),
    [
        # Zero in all of them: the prior of one more row.
        ([0.0] * 99, lambda least: least / 100),
        ([0.001] * 99, lambda least: (0.099 + least) / 100),
        # However much one of them brought, no row without exposure is put above one with.
        ([0.0] * 99 + [1e6], lambda least: least),
        ([], lambda least: least),
    ],
    ids=["zero", "little", "one outlier", "none in training"],
)
def test_rows_without_exposure_get_their_mean_amount(
    brought: list[float], expected: Callable[[float], float]
) -> None:
    X, amounts = _draw_idle(brought)
    inner = RateRegressor(LogRegressor(LinearRegression()))
    model = ExposedRegressor(inner).fit(X, amounts)
    least = float(np.exp(X[X[:, 1] > 0, 0].min()))
    alike = np.array([[np.log(1e-200), 0.0, 0.0], [np.log(1e-200), 0.0, 99.0]])
    assert model.predict(alike) == pytest.approx([expected(least)] * 2)
    assert 0 < model.amount_without_exposure_ <= least
    # Rows with exposure are predicted as if there were no others.
    some = X[:, 1] > 0
    np.testing.assert_array_equal(
        model.predict(X[some]), clone(inner).fit(X[some], amounts[some]).predict(X[some])
    )


def test_rows_without_exposure_alone_teach_nothing() -> None:
    X, amounts = _draw_idle([0.0] * 9)
    with pytest.raises(ValueError, match="no row has an exposure"):
        ExposedRegressor(LinearRegression()).fit(X[-9:], amounts[-9:])


def test_a_weighted_rate_is_a_model_with_an_offset() -> None:
    X, _, amounts = _draw()
    power = 1.5
    settings = {"power": power, "alpha": 0.0, "link": "log", "tol": 1e-9, "max_iter": 1_000}
    # If log(exposure) is also a feature, the offset changes its coefficient by exactly 1.
    twice = X[:, [0, 0, 1]]
    model = RateRegressor(TweedieRegressor(**settings), power=power).fit(twice, amounts)
    plain = TweedieRegressor(**settings).fit(X, amounts)
    assert plain.coef_[0] - model.regressor_.coef_[0] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(model.predict(twice), plain.predict(X), rtol=1e-3)


def test_a_hurdle_is_a_probability_times_an_amount() -> None:
    X, mean, amounts = _draw()
    paid = np.random.default_rng(1).random(len(X)) < 1 / (1 + np.exp(-2.0 * X[:, 1]))
    model = HurdleRegressor(LogisticRegression(), LogRegressor(Ridge(alpha=1e-3))).fit(X, amounts * paid)
    probabilities = model.predict_some(X)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-2.0 * X[:, 1])), atol=0.08)
    np.testing.assert_allclose(model.predict(X), probabilities * model.regressor_.predict(X))
    np.testing.assert_allclose(model.regressor_.predict(X), mean, rtol=0.15)


def test_a_hurdle_that_everyone_takes_is_the_amount_alone() -> None:
    X, _, amounts = _draw()
    model = HurdleRegressor(LogisticRegression(), LogRegressor(LinearRegression())).fit(X, amounts)
    assert model.classifier_ is None
    assert (model.predict_some(X) == 1).all()
    np.testing.assert_array_equal(model.predict(X), model.regressor_.predict(X))


def test_amounts_that_are_none_are_refused() -> None:
    X, _, amounts = _draw(10)
    amounts[3] = -1.0
    for model in (
        LogRegressor(LinearRegression(), shift=2.0),
        RateRegressor(LinearRegression()),
        ExposedRegressor(LinearRegression()),
        HurdleRegressor(LogisticRegression(), LinearRegression()),
    ):
        with pytest.raises(ValueError, match="finite and not negative"):
            model.fit(X, amounts)
    with pytest.raises(ValueError, match="no amount is above zero"):
        HurdleRegressor(LogisticRegression(), LinearRegression()).fit(X, np.zeros(10))


def test_they_are_estimators_of_scikit_learn() -> None:
    model = HurdleRegressor(LogisticRegression(), RateRegressor(LogRegressor(Ridge(alpha=3.0)), power=1.5))
    assert clone(model).get_params()["regressor__regressor__regressor__alpha"] == 3.0
    with pytest.raises(NotFittedError):
        model.predict(np.zeros((1, 2)))
    with pytest.raises(NotFittedError):
        LogRegressor(Ridge()).predict(np.zeros((1, 2)))
    with pytest.raises(NotFittedError):
        RateRegressor(Ridge()).predict(np.zeros((1, 2)))
    with pytest.raises(NotFittedError):
        ExposedRegressor(Ridge()).predict(np.zeros((1, 2)))
