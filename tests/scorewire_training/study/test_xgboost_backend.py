from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.errors import TrainingError
from scorewire_training.export import export_bundle
from scorewire_training.study.xgboost_backend import Backend, open_backend


@pytest.fixture(scope="module")
def dask() -> Iterator[Backend]:
    with open_backend("dask") as backend:
        yield backend


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(3_000, 6)), columns=[f"x{place}" for place in range(6)])
    frame.loc[::7, "x1"] = np.nan
    return frame


@pytest.fixture(scope="module")
def signal(rows: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=len(rows))
    return (rows["x0"] + rows["x2"] * rows["x3"] + rows["x1"].fillna(-1) + noise).to_numpy()


def test_a_classifier_is_as_good_as_one_fitted_here(
    dask: Backend, rows: pd.DataFrame, signal: np.ndarray
) -> None:
    labels = (signal > 0).astype(int)
    areas = []
    for build in (XGBClassifier, dask.classifier):
        model = build(
            n_estimators=60, max_depth=4, learning_rate=0.1, subsample=0.9, random_state=0, n_jobs=1
        )
        model.fit(rows[:2_000], labels[:2_000])
        areas.append(roc_auc_score(labels[2_000:], model.predict_proba(rows[2_000:])[:, 1]))
    assert areas[0] > 0.75
    assert areas[1] == pytest.approx(areas[0], abs=0.02)


def test_a_regressor_is_as_good_as_one_fitted_here(
    dask: Backend, rows: pd.DataFrame, signal: np.ndarray
) -> None:
    amounts = np.exp(signal / 2)
    errors = []
    for build in (XGBRegressor, dask.regressor):
        model = build(
            objective="reg:tweedie",
            tweedie_variance_power=1.5,
            n_estimators=60,
            max_depth=4,
            learning_rate=0.1,
        )
        model.fit(rows[:2_000], amounts[:2_000], sample_weight=np.ones(2_000))
        errors.append(np.abs(model.predict(rows[2_000:]) - amounts[2_000:]).mean())
    assert errors[0] < np.abs(np.median(amounts) - amounts[2_000:]).mean()
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


def test_early_stopping_is_that_of_xgboost(dask: Backend, rows: pd.DataFrame, signal: np.ndarray) -> None:
    model = dask.regressor(n_estimators=400, learning_rate=0.5, early_stopping_rounds=5)
    model.fit(rows[:2_000], signal[:2_000], eval_set=[(rows[2_000:], signal[2_000:])], verbose=False)
    assert model.best_iteration < 300
    assert len(model.evals_result_["validation_0"]["rmse"]) == model.best_iteration + 6


def test_a_pipeline_fitted_on_dask_is_cloned_and_exported_like_any_other(
    dask: Backend, rows: pd.DataFrame, signal: np.ndarray, tmp_path: Path
) -> None:
    model = dask.classifier(n_estimators=20, max_depth=3, learning_rate=0.2, random_state=0)
    pipeline = clone(Pipeline([("scale", StandardScaler()), ("model", model)])).fit(
        rows, (signal > 0).astype(int)
    )
    assert pipeline[-1].get_params()["max_depth"] == 3
    exported = export_bundle(pipeline, sample=rows[:500], name="spread", version="1.0.0", output_dir=tmp_path)
    assert exported.parity.rows_compared > 500


def test_labels_that_are_not_0_and_1_are_refused(dask: Backend, rows: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="labels are 0 and 1"):
        dask.classifier().fit(rows[:6], ["a", "b"] * 3)


def test_a_cluster_leaves_nothing_behind() -> None:
    def holdings() -> tuple[set[int], set[str], int]:
        own = psutil.Process()
        sockets = {str(item.laddr) for item in own.net_connections(kind="inet")}
        scratch = {str(path) for path in Path(tempfile.gettempdir()).glob("scorewire-dask-*")}
        return (
            {child.pid for child in own.children(recursive=True)},
            sockets | scratch,
            threading.active_count(),
        )

    def run() -> None:
        with open_backend("dask") as backend:
            backend.regressor(n_estimators=3).fit(np.arange(40.0).reshape(20, 2), np.arange(20.0))

    before = holdings()
    run()
    after = holdings()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] <= before[2]


def test_a_scheduler_that_is_there_is_used_and_left_running(rows: pd.DataFrame, signal: np.ndarray) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        with open_backend(f"dask={cluster.scheduler_address}") as backend:
            model = backend.regressor(n_estimators=10).fit(rows, signal)
        assert len(cluster.scheduler_info["workers"]) == 1
    assert np.corrcoef(model.predict(rows), signal)[0, 1] > 0.5


def test_an_address_where_nobody_is_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorewire_training.study.xgboost_backend._CONNECT_SECONDS", 1)
    with (
        pytest.raises(TrainingError, match="no Dask scheduler answers at tcp://127.0.0.1:1"),
        open_backend("dask=tcp://127.0.0.1:1"),
    ):
        pass


def test_the_local_backend_is_xgboost_itself() -> None:
    with open_backend("local") as backend:
        assert backend == Backend(XGBClassifier, XGBRegressor)
