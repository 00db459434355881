from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import KNNImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scorewire_proto.v1 import errors_pb2
from scorewire_training.export import export_bundle
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.export.lowering.rules.neighbors import MAX_ROWS
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.lowering.scored import check_same, with_holes

FULL = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 4)), columns=["a", "b", "c", "d"])
FULL["d"] = FULL["d"] * 50.0 + 2_000.0
FRAME = with_holes(FULL)
NEW = with_holes(FULL * 1.05 + 0.01)
TARGET = (FULL["a"] * 2 - FULL["b"] + FULL["d"] / 50).to_numpy()


@pytest.mark.parametrize(
    "imputer",
    [
        KNNImputer(),
        KNNImputer(n_neighbors=1, add_indicator=True),
        KNNImputer(n_neighbors=17),
        KNNImputer(n_neighbors=250),
        KNNImputer(n_neighbors=5_000),
    ],
    ids=lambda imputer: f"{imputer.n_neighbors} neighbours",
)
def test_missing_numbers_are_the_mean_of_the_nearest_rows(imputer: Any) -> None:
    check_same(imputer.fit(FRAME), pd.concat([FRAME, NEW]))
    check_same(make_pipeline(StandardScaler(), imputer, Ridge()).fit(FRAME, TARGET), pd.concat([FRAME, NEW]))


def test_rows_with_a_single_number_and_with_none() -> None:
    lone = pd.concat([FULL[kept].reindex(columns=FULL.columns) for kept in ([], ["a"], ["b"], ["d"])])
    check_same(KNNImputer(n_neighbors=3).fit(FRAME), lone, sample=FRAME)


def test_rows_that_have_a_column_in_common_with_few_others() -> None:
    # In each row the last column is known where the first two are missing.
    frame = FULL.copy()
    frame.loc[frame.index % 50 != 0, "d"] = np.nan
    frame.loc[frame.index % 50 == 0, ["a", "b"]] = np.nan
    check_same(
        KNNImputer(n_neighbors=4).fit(frame),
        pd.concat([frame, FULL[["a", "b"]].reindex(columns=FULL.columns)]),
    )


@pytest.mark.parametrize("keep", [False, True])
def test_columns_that_were_empty_in_training(keep: bool) -> None:
    frame = FRAME.assign(b=np.nan)
    imputer = KNNImputer(n_neighbors=3, keep_empty_features=keep).fit(frame)
    check_same(imputer, pd.concat([frame, FRAME]), sample=FRAME)


def test_a_number_that_stands_for_missing() -> None:
    frame = FRAME.fillna(-1.0)
    check_same(KNNImputer(missing_values=-1.0).fit(frame), frame)


def test_repeated_rows_do_no_harm() -> None:
    check_same(KNNImputer(n_neighbors=4).fit(pd.concat([FRAME, FRAME])), NEW, sample=FRAME)


def test_far_rows_are_out_of_range(tmp_path: Path) -> None:
    model = make_pipeline(KNNImputer(), Ridge()).fit(FRAME, TARGET)
    exported = export_bundle(model, sample=FRAME, name="near", version="1.0.0", output_dir=tmp_path)
    rows = np.array([[1e9, 0.0, 0.0, 2_000.0], [0.1, np.nan, 0.3, 2_000.0]])
    scores = score_rows(exported.path, pd.DataFrame(rows, columns=FRAME.columns))
    assert [(error.row, error.reason) for error in scores.errors] == [
        (0, errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE)
    ]
    wanted = model.predict(pd.DataFrame(rows, columns=FRAME.columns))
    np.testing.assert_allclose(scores.outputs[0][1], wanted[1])


@pytest.mark.parametrize(
    ("imputer", "frame", "message"),
    [
        (KNNImputer(weights="distance"), FRAME, "weights other than the default"),
        (KNNImputer(metric=lambda *_, **__: 1.0), FRAME, "metric other than the default"),
        (KNNImputer(), FRAME.astype(np.float32), "less than double"),
        (KNNImputer(), pd.concat([FRAME] * (MAX_ROWS // 300 + 1)), f"{MAX_ROWS:,} of"),
        (KNNImputer(), FRAME.assign(c=FRAME["c"].round()), "the same number in column 'c'"),
        (KNNImputer(n_neighbors=2), pd.DataFrame({"a": np.arange(300.0), "b": FULL["b"]}), "equally near"),
    ],
)
def test_what_a_graph_cannot_do_alike_is_refused(imputer: Any, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        lower(make_pipeline(imputer, Ridge()).fit(frame, np.resize(TARGET, len(frame))), frame)
