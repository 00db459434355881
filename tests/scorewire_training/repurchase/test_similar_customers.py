from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from scorewire_training.repurchase import similar_customers
from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.features import build_features, build_labels
from scorewire_training.repurchase.history import RFM, read_history
from scorewire_training.repurchase.similar_customers import NEIGHBOURS, merge_references, sample_references
from tests.scorewire_training.repurchase.shop import FIRST_DAY, make_lines

CUT = pd.Timestamp("2020-07-01")
HORIZON = 60


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines()).lines


def test_similar_customers_are_the_nearest_at_earlier_cutoffs_whose_horizon_was_over(
    lines: pd.DataFrame,
) -> None:
    earlier = [CUT - pd.Timedelta(days=HORIZON + days) for days in (0, 20, 40)]
    tables = [build_features(lines, cutoff, horizon_days=HORIZON) for cutoff in earlier]
    bought = np.concatenate(
        [
            build_labels(lines, table.index, cutoff, HORIZON)
            for table, cutoff in zip(tables, earlier, strict=True)
        ]
    )
    references = np.log1p(pd.concat(tables)[list(RFM)].to_numpy())
    features = build_features(lines, CUT, horizon_days=HORIZON)
    distances = cdist(
        np.log1p(features[list(RFM)].to_numpy()), references, "seuclidean", V=references.var(axis=0)
    )
    nearest = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    np.testing.assert_allclose(features["peer_repurchase"], bought[nearest].mean(axis=1))


def test_similar_customers_foretell_who_buys_again(lines: pd.DataFrame) -> None:
    features = build_features(lines, CUT, horizon_days=HORIZON)
    labels = build_labels(lines, features.index, CUT, HORIZON)
    means = features["peer_repurchase"].groupby(labels).mean()
    assert means[1] > means[0] + 0.05


def test_a_shop_too_young_for_similar_customers_has_none(lines: pd.DataFrame) -> None:
    # The latest earlier cutoff has one day less of history than a third of the horizon.
    young = build_features(lines, FIRST_DAY + pd.Timedelta(days=79), horizon_days=HORIZON)
    assert young["peer_repurchase"].isna().all()
    few = lines[lines["customer"] < "00010"]
    assert build_features(few, CUT, horizon_days=HORIZON)["peer_repurchase"].isna().all()


def test_customers_with_equal_rfm_are_similar_customers() -> None:
    names = [f"{number:03d}" for number in range(NEIGHBOURS)]
    first = pd.DataFrame({"customer": names, "time": FIRST_DAY, "amount": 5.0, "invoice": names})
    later = first.tail(25).assign(time=CUT - pd.Timedelta(days=1), invoice="later")
    # The customers were alike at each of the three cutoffs; after the latest one a quarter bought.
    features = build_features(pd.concat([first, later]), CUT, horizon_days=HORIZON)
    assert features["peer_repurchase"].between(0, 0.25).all()


def test_the_references_drawn_of_parts_are_those_of_the_whole(
    lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar_customers, "_MAX_REFERENCES", 50)
    whole = sample_references(read_history(lines, CUT), HORIZON)
    assert whole.groupby("cutoff").size().tolist() == [50, 50, 50]
    halves = [
        sample_references(read_history(lines[half], CUT), HORIZON)
        for half in (lines["customer"] < "00080", lines["customer"] >= "00080")
    ]
    for parts in (halves, halves[::-1]):
        pd.testing.assert_frame_equal(merge_references(parts), whole, check_exact=True)
