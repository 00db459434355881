from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import score


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "amount": rng.lognormal(3.0, 1.0, 400),
            "few": rng.integers(0, 4, 400).astype(np.float64),
            "same": np.full(400, 2.5),
            "tiny": rng.normal(size=400) * 1e-9,
        }
    )


def _around(frame: pd.DataFrame, quantiles: Any) -> pd.DataFrame:
    """Rows at the quantiles, beside them, between them and beyond them."""
    values = np.concatenate(
        [
            quantiles,
            np.nextafter(quantiles, -np.inf),
            np.nextafter(quantiles, np.inf),
            quantiles + 0.7e-7,
            quantiles - 0.7e-7,
            (quantiles[:-1] + quantiles[1:]) / 2,
            np.full((1, quantiles.shape[1]), np.nan),
            [[-1e300] * quantiles.shape[1], [1e300] * quantiles.shape[1]],
        ]
    )
    return pd.concat([frame, pd.DataFrame(values, columns=frame.columns)], ignore_index=True)


@pytest.mark.parametrize("output", ["uniform", "normal"])
@pytest.mark.parametrize("count", [2, 11, 300])
def test_quantiles_are_those_of_scikit_learn(output: str, count: int) -> None:
    frame = _frame()
    step = QuantileTransformer(n_quantiles=count, output_distribution=output, random_state=0).fit(frame)
    rows = _around(frame, step.quantiles_)
    found = score(lower(step, frame), rows)["value"]
    np.testing.assert_allclose(found, step.transform(rows), rtol=1e-12, atol=1e-14)


def test_deviates_are_exact_from_end_to_end() -> None:
    frame = pd.DataFrame({"x": np.linspace(0.0, 1.0, 11)})
    step = QuantileTransformer(n_quantiles=2, output_distribution="normal").fit(frame)
    shares = np.concatenate([np.logspace(-9, 0, 500), 1.0 - np.logspace(-9, 0, 500), np.linspace(0, 1, 999)])
    rows = pd.DataFrame({"x": shares})
    found = score(lower(step, frame), rows)["value"]
    np.testing.assert_allclose(found, step.transform(rows), rtol=1e-13, atol=1e-15)


def test_zeros_that_a_sparse_matrix_leaves_out_stay_zeros() -> None:
    frame = _frame()[["amount", "few"]]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["few"]), ("passthrough", ["amount"]), sparse_threshold=1.0
    )
    step = QuantileTransformer(n_quantiles=20, random_state=0)
    model = make_pipeline(columns, step, Ridge()).fit(frame, frame["amount"])
    rows = frame.assign(amount=frame["amount"].where(frame["few"] > 0, 0.0))
    found = score(lower(model, frame), rows)["value"]
    np.testing.assert_allclose(found[:, 0], model.predict(rows), rtol=1e-12)
