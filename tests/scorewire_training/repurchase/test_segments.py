from __future__ import annotations

import numpy as np
import pandas as pd

from scorewire_training.repurchase.segments import SEGMENTS, FifthsScale, name_segments, tabulate_segments


def test_a_score_is_one_more_than_the_fifths_that_a_value_lies_above() -> None:
    values = np.arange(10.0)
    scores = FifthsScale.over(values[::-1]).score(values)
    assert scores.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert scores.dtype == np.float64


def test_equal_values_score_alike_and_the_many_who_bought_once_score_lowest() -> None:
    values = np.array([1.0] * 6 + [2, 2, 3, 9])
    assert FifthsScale.over(values).score(values).tolist() == [1] * 6 + [4, 4, 5, 5]
    assert FifthsScale.over(np.ones(7)).score(np.ones(7)).tolist() == [1] * 7


def test_few_customers_are_scored_as_far_as_they_reach() -> None:
    assert FifthsScale.over(np.array([3.0])).score(np.array([3.0])).tolist() == [1]
    assert FifthsScale.over(np.array([3.0, 4.0])).score(np.array([3.0, 4.0])).tolist() == [1, 3]
    assert FifthsScale.over(np.empty(0)).score(np.empty(0)).tolist() == []


def test_a_value_beyond_all_others_has_the_highest_score() -> None:
    assert FifthsScale.over(np.arange(5.0)).score(np.array([-1.0, 100.0])).tolist() == [1, 5]


def test_every_pair_of_scores_has_a_segment() -> None:
    recency, frequency = (grid.ravel() for grid in np.meshgrid(np.arange(1.0, 6), np.arange(1.0, 6)))
    segments = name_segments(recency, frequency)
    assert set(segments) == set(SEGMENTS)
    best = {(int(r), int(f)): s for r, f, s in zip(recency, frequency, segments, strict=True)}
    assert best[5, 5] == "champions"
    assert best[5, 1] == "new"
    assert best[1, 5] == "cannot lose"
    assert best[1, 1] == "hibernating"


def test_segments_are_tabulated_from_the_best_to_the_lost() -> None:
    features = pd.DataFrame(
        {
            "recency_days": [1.0, 3, 90],
            "frequency": [8.0, 6, 1],
            "monetary": [80.0, 60, 1],
            "segment": ["champions", "champions", "hibernating"],
        }
    )
    table = tabulate_segments(features, np.array([1, 0, 0]))
    assert table.index.tolist() == ["champions", "hibernating"]
    assert table.loc["champions"].to_dict() == {
        "customers": 2,
        "share": 2 / 3,
        "recency_days": 2,
        "frequency": 7,
        "monetary": 70,
        "repurchased_share": 0.5,
    }
    assert "repurchased_share" not in tabulate_segments(features).columns
