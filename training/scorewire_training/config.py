"""The settings that every training run has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from scorewire_contract.schema import InvalidNameError, Version
from scorewire_training.errors import TrainingError
from scorewire_training.tables.settings import TableSettings

# Called with a sentence for each stage. A sentence that ends in "3 of 15" is the third of 15 equal steps.
Progress: TypeAlias = Callable[[str], None]

# The MLflow store that --mlflow without a URI writes to.
DEFAULT_STORE = "sqlite:///mlflow.db"

_MAX_SEED = 2**32 - 1
_MAX_TRIALS = 1_000
_SHA256 = re.compile("[0-9a-f]{64}")
_BACKEND = re.compile(r"local|dask(=(tcp|tls|ws|wss)://\S+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(TableSettings):
    """The settings that all training runs have in common, with those of the table.

    Args:
        data: the table to train on, .csv or .parquet; None takes the default data
            of the use case.
        data_sha256: the SHA-256 of that file, 64 hex digits; training sets it. A settings
            file with it may be anywhere at or below the folder of the table.
        version: the semantic version of the new bundle; it must not exist yet.
        output_dir: the folder of all models.
        seed: the seed of all random numbers, 0 to 2^32 - 1; the same seed and
            table give the same model.
        trials: how many sets of parameters to try for each candidate, 1 to 1000.
        backend: where XGBoost is fitted: "local" for this process, "dask" for a new
            Dask cluster on this machine, "dask=ADDRESS" for a running scheduler.
        mlflow_uri: the MLflow store to write the run to and to register the bundle
            in: sqlite:///FILE, a folder, or http://HOST:PORT; None writes nothing
            to MLflow.

    Raises:
        TrainingError: the version is not a semantic version, or another value is
            out of its range.
    """

    data: Path | None = None
    data_sha256: str | None = None
    version: str = "1.0.0"
    output_dir: Path = Path("models")
    seed: int = 0
    trials: int = 15
    backend: str = "local"
    mlflow_uri: str | None = None

    def __post_init__(self) -> None:
        # With arguments: slots create a new class, which super() without arguments does not know.
        super(TrainingConfig, self).__post_init__()
        try:
            Version(self.version)
        except InvalidNameError as error:
            raise TrainingError(str(error)) from None
        if self.data_sha256 is not None and not _SHA256.fullmatch(self.data_sha256):
            raise TrainingError(
                f"data_sha256 is {self.data_sha256!r}: it has 64 hex digits, as sha256sum prints"
            )
        if not 0 <= self.seed <= _MAX_SEED:
            raise TrainingError(f"seed is {self.seed}: choose one from 0 to {_MAX_SEED}")
        if not 1 <= self.trials <= _MAX_TRIALS:
            raise TrainingError(f"trials is {self.trials}: choose 1 to {_MAX_TRIALS}")
        if not _BACKEND.fullmatch(self.backend):
            raise TrainingError(
                f"backend is {self.backend!r}: choose local, dask, or dask=ADDRESS like "
                "dask=tcp://10.0.0.5:8786"
            )
