from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import score


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"amount": rng.lognormal(3.0, 1.0, 300), "level": rng.integers(0, 9, 300) * 1.0})


def _rows(frame: pd.DataFrame, step: Any) -> pd.DataFrame:
    """The frame, and rows at the knots, beside them and beyond them."""
    knots = np.column_stack(
        [spline.t[step.degree : len(spline.t) - step.degree] for spline in step.bsplines_]
    )
    sides = [np.nextafter(knots, side) for side in (-np.inf, np.inf)]
    values = np.concatenate([knots, *sides, knots + 100.0, knots - 100.0, knots * 37.0, -5.0 * knots])
    if step.extrapolation == "error":
        values = values[((values >= knots[0]) & (values <= knots[-1])).all(axis=1)]
    return pd.concat([frame, pd.DataFrame(values, columns=frame.columns)], ignore_index=True)


@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic", "error"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"degree": 1, "include_bias": False},
        {"degree": 2, "knots": "quantile", "n_knots": 8},
        {"n_knots": 2},
    ],
    ids=["cubic", "linear", "quantile", "one interval"],
)
def test_splines_are_those_of_scikit_learn(extrapolation: str, settings: dict[str, Any]) -> None:
    if extrapolation == "periodic" and settings.get("n_knots") == 2:
        settings = {"n_knots": 4}
    frame = _frame()
    if extrapolation == "linear" and settings.get("degree") == 1:
        frame = frame[["amount"]]
    step = SplineTransformer(extrapolation=extrapolation, **settings).fit(frame)
    rows = _rows(frame, step)
    lowered = lower(step, frame)
    expected = step.transform(rows)
    found = score(lowered, rows)["value"]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_lines_from_wrong_knots_are_refused() -> None:
    frame = _frame()
    step = SplineTransformer(degree=1, extrapolation="linear").fit(frame)
    with pytest.raises(UnsupportedModelError, match="wrong knots.*degree=2"):
        lower(step, frame)


def test_steps_jump_at_their_knots() -> None:
    frame = _frame()
    model = make_pipeline(SplineTransformer(degree=0, n_knots=6, extrapolation="continue"), Ridge()).fit(
        frame, frame["amount"]
    )
    lowered = lower(model, frame)
    assert lowered.thresholds["amount"].tolist() == model[0].bsplines_[0].t.tolist()
    rows = _rows(frame, model[0])
    np.testing.assert_allclose(score(lowered, rows)["value"][:, 0], model.predict(rows), rtol=1e-12)


@pytest.mark.skipif("handle_missing" not in SplineTransformer().get_params(), reason="of scikit-learn 1.8")
def test_missing_numbers_have_no_splines_where_that_is_asked_for() -> None:
    frame = _frame()
    frame.loc[::7, "amount"] = np.nan
    model = make_pipeline(SplineTransformer(handle_missing="zeros"), Ridge()).fit(frame, frame["level"])
    np.testing.assert_allclose(
        score(lower(model, frame), frame)["value"][:, 0], model.predict(frame), rtol=1e-9
    )
