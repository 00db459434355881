"""Where XGBoost is fitted: in this process, or on a Dask cluster.

The estimators of a backend are used like XGBoost's own: they take tables of this
process, and after `fit` they hold an ordinary booster. On Dask the rows are
spread over the workers, which build each tree together.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from xgboost import XGBClassifier, XGBModel, XGBRegressor

from scorewire_training.errors import TrainingError

if TYPE_CHECKING:
    from distributed import Client

_WORKERS = 2
_CONNECT_SECONDS = 20
_INSTALL = "Dask is not installed: pip install 'scorewire-training[dask]'"


@dataclass(frozen=True, slots=True)
class Backend:
    """The estimator classes that fit XGBoost models."""

    classifier: type[XGBClassifier]
    regressor: type[XGBRegressor]


LOCAL = Backend(XGBClassifier, XGBRegressor)


@contextmanager
def open_backend(name: str) -> Iterator[Backend]:
    """A context manager that yields a backend and closes its connections at the end.

    Args:
        name: "local" for this process; "dask" for a cluster of two processes on this
            machine, which ends with the block; "dask=ADDRESS" for a running
            scheduler.

    Raises:
        TrainingError: Dask is not installed, or no scheduler answers at the address.
    """
    if name == "local":
        yield LOCAL
        return
    try:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - optional, and slow to import
    except ModuleNotFoundError:
        raise TrainingError(_INSTALL) from None
    backend = Backend(DaskXGBClassifier, DaskXGBRegressor)
    address = name.partition("=")[2]
    if address:
        try:
            client = Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise TrainingError(f"no Dask scheduler answers at {address}: {error}") from None
        with client:
            yield backend
        return
    with (
        tempfile.TemporaryDirectory(prefix="scorewire-dask-") as scratch,
        # Any free port: another cluster may use the default one.
        LocalCluster(
            n_workers=_WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=scratch,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster),
    ):
        yield backend


class DaskXGBClassifier(XGBClassifier):
    """An XGBClassifier for the labels 0 and 1 that is fitted on the current Dask cluster."""

    def fit(self, X: ArrayLike, y: ArrayLike, **settings: Any) -> DaskXGBClassifier:
        """Fit as XGBClassifier does; of its other arguments only sample_weight and eval_set are supported.

        Raises:
            TrainingError: a label is neither 0 nor 1.
        """
        labels = np.asarray(y)
        if not np.isin(labels, (0, 1)).all():
            raise TrainingError(
                "on Dask the labels are 0 and 1: turn yours into those, or use --backend local"
            )
        _fit(self, X, labels, {"objective": "binary:logistic"}, **settings)
        return self


class DaskXGBRegressor(XGBRegressor):
    """An XGBRegressor that is fitted on the current Dask cluster."""

    def fit(self, X: ArrayLike, y: ArrayLike, **settings: Any) -> DaskXGBRegressor:
        """Fit as XGBRegressor does; of its other arguments only sample_weight and eval_set are supported."""
        _fit(self, X, np.asarray(y), {}, **settings)
        return self


def _fit(
    model: XGBModel,
    X: ArrayLike,
    y: NDArray[Any],
    defaults: dict[str, Any],
    *,
    sample_weight: ArrayLike | None = None,
    eval_set: list[tuple[ArrayLike, ArrayLike]] | None = None,
    verbose: bool = False,
) -> None:
    """Fit on the current cluster, and load the booster into the model."""
    from distributed import get_client  # noqa: PLC0415 - as above
    from xgboost import dask as xgboost_dask  # noqa: PLC0415

    client = get_client()
    given = {name: value for name, value in model.get_xgb_params().items() if value is not None}
    # The number of threads was decided when each worker was started.
    given.pop("n_jobs", None)
    training = _spread(client, X, y, sample_weight, given.get("missing"))
    evaluated = [
        (_spread(client, rows, truth, None, given.get("missing")), f"validation_{place}")
        for place, (rows, truth) in enumerate(eval_set or ())
    ]
    result = xgboost_dask.train(
        client,
        {**defaults, **given},
        training,
        num_boost_round=model.get_num_boosting_rounds(),
        evals=evaluated,
        early_stopping_rounds=model.early_stopping_rounds,
        verbose_eval=verbose,
    )
    # The booster also holds the number of classes and features and the best iteration.
    model.load_model(result["booster"].save_raw("ubj"))
    model.evals_result_ = result["history"]


def _spread(
    client: Client, X: ArrayLike, y: ArrayLike, weights: ArrayLike | None, missing: float | None
) -> Any:
    """Spread a table of this process over the workers, one part for each."""
    import dask.array as da  # noqa: PLC0415 - as above
    from xgboost import dask as xgboost_dask  # noqa: PLC0415

    rows = np.asarray(X, dtype=np.float32)
    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    height = max(1, -(-len(rows) // workers))
    return xgboost_dask.DaskDMatrix(
        client,
        da.from_array(rows, chunks=(height, rows.shape[1])),
        da.from_array(np.asarray(y), chunks=height),
        weight=None if weights is None else da.from_array(np.asarray(weights), chunks=height),
        missing=np.nan if missing is None else missing,
    )
