from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import errors_pb2
from scorewire_training.export import export_bundle
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.export.lowering.rules.neighbors import MAX_COLUMNS, MAX_ROWS
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.lowering.scored import check_same

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=["a", "b", "c"])
NUMBER = (FRAME["a"] * 2 - FRAME["b"] ** 2).to_numpy()
CLASSES = np.digitize(NUMBER, [-1.0, 1.0])


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_neighbours_are_those_of_the_search(algorithm: str, p: int, weights: str) -> None:
    settings: dict[str, Any] = {"n_neighbors": 5, "algorithm": algorithm, "p": p, "weights": weights}
    new = FRAME * 1.1 + 0.01
    check_same(KNeighborsClassifier(**settings).fit(FRAME, CLASSES), pd.concat([FRAME, new]))
    check_same(KNeighborsRegressor(**settings).fit(FRAME, NUMBER), pd.concat([FRAME, new]))


def test_neighbours_are_those_of_a_search_over_all_rows() -> None:
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(4, algorithm="brute"))
    check_same(model.fit(FRAME, np.column_stack([NUMBER, -NUMBER])), FRAME * 0.9)
    everyone = KNeighborsClassifier(len(FRAME)).fit(FRAME, CLASSES)
    check_same(everyone, FRAME)


def test_far_rows_are_out_of_range(tmp_path: Path) -> None:
    model = KNeighborsRegressor(3).fit(FRAME, NUMBER)
    exported = export_bundle(model, sample=FRAME, name="near", version="1.0.0", output_dir=tmp_path)
    bundle = read_bundle(exported.path)
    largest = bundle.manifest.schema.features[0].magnitude_limit
    assert FRAME["a"].abs().max() < largest < 10_000
    rows = np.array([[largest, 0.0, 0.0], [-2 * largest, 0.0, 0.0], [0.1, 0.2, 0.3]])
    scores = score_rows(exported.path, pd.DataFrame(rows, columns=FRAME.columns))
    assert [(error.row, error.reason) for error in scores.errors] == [
        (1, errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE)
    ]
    wanted = model.predict(pd.DataFrame(rows, columns=FRAME.columns))
    np.testing.assert_allclose(scores.outputs[0][[0, 2]].ravel(), wanted[[0, 2]])


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (KNeighborsRegressor(2, weights=np.exp), FRAME, "a function of one's own"),
        (KNeighborsRegressor(2, metric="chebyshev"), FRAME, "'chebyshev' cannot be translated"),
        (KNeighborsRegressor(2, weights="distance", algorithm="brute"), FRAME, "algorithm='kd_tree'"),
        (KNeighborsRegressor(2), FRAME.astype(np.float32), "less than double"),
        (make_pipeline(KBinsDiscretizer(3), KNeighborsRegressor(2)), FRAME, "on a sparse matrix"),
        (KNeighborsRegressor(2), FRAME.round(), "equally near"),
        (KNeighborsRegressor(2), pd.concat([FRAME] * (MAX_ROWS // 300 + 1)), f"{MAX_ROWS:,} rows"),
        (
            KNeighborsRegressor(2),
            pd.DataFrame(np.eye(300, MAX_COLUMNS + 1), columns=[f"c{i}" for i in range(MAX_COLUMNS + 1)]),
            f"more than {MAX_ROWS:,} of {MAX_COLUMNS}",
        ),
    ],
)
def test_what_a_graph_cannot_do_alike_is_refused(model: Any, rows: pd.DataFrame, message: str) -> None:
    targets = np.resize(NUMBER, len(rows))
    with pytest.raises(UnsupportedModelError, match=message):
        lower(model.fit(rows, targets), rows)


def test_several_labels_are_refused() -> None:
    model = KNeighborsClassifier().fit(FRAME, np.column_stack([CLASSES, CLASSES > 1]))
    with pytest.raises(UnsupportedModelError, match="MultiOutputClassifier"):
        lower(model, FRAME)


def test_rows_that_are_equally_near_and_alike_do_no_harm() -> None:
    twice = pd.concat([FRAME, FRAME])
    check_same(KNeighborsRegressor(3).fit(twice, np.tile(NUMBER, 2)), FRAME * 1.01)
