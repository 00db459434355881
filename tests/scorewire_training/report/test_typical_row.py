from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from scorewire_training.report.typical_row import typical_row
from scorewire_training.training_result import PredictionKind
from tests.scorewire_training.results import make_result

RESULT = make_result(PredictionKind.PROBABILITY)


def typical(test: pd.DataFrame, predictions: list[float] | None = None) -> pd.DataFrame:
    scores = np.zeros(len(test)) if predictions is None else np.array(predictions)
    return typical_row(replace(RESULT, test=test, predictions=scores))


def test_numbers_are_medians_and_texts_the_most_frequent() -> None:
    test = pd.DataFrame(
        {
            "whole": np.array([3, 9, 1, 5], dtype=np.int32),
            "half_missing": [np.nan, 7.0, np.nan, 2.0],
            "mostly_missing": [np.nan, np.nan, np.nan, 2.0],
            "text": np.array(["pe", "de", "pe", "us"], dtype=object),
            "tie": np.array(["pe", "de", "de", "pe"], dtype=object),
            "kind": pd.Categorical(["b", "a", "b", "b"], categories=["a", "b", "c"]),
        }
    )
    row = typical(test)
    pd.testing.assert_series_equal(row.dtypes, test.dtypes)
    assert row.shape == (1, 6)
    assert row.iloc[0, [0, 1, 3, 4, 5]].tolist() == [3, 2.0, "pe", "de", "b"]
    assert np.isnan(row["mostly_missing"].iloc[0])


def test_a_row_is_typical_of_the_tenth_with_the_highest_predictions() -> None:
    scores = [float(place) for place in range(500)]
    row = typical(pd.DataFrame({"x": scores}), scores)
    # The lower of the two middle ones of 450 to 499.
    assert row["x"].tolist() == [474.0]


def test_a_row_is_never_typical_of_a_few_people_only() -> None:
    scores = [float(place) for place in range(100)]
    assert typical(pd.DataFrame({"x": scores}), scores)["x"].tolist() == [89.0]


def test_the_pipeline_takes_the_row() -> None:
    row = typical_row(RESULT)
    high = np.quantile(RESULT.predictions, 0.7)
    assert RESULT.pipeline.predict_proba(row)[0, 1] > high
