"""What every training run takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scorewire_contract.schema import InvalidNameError, Version
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportedBundle

Progress: TypeAlias = Callable[[str], None]

_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What is common to all training runs.

    Args:
        data: the table to train on, .csv or .parquet; None takes data that needs
            no file of yours.
        version: the semantic version of the bundle, one that does not exist yet.
        output_dir: the folder of all models.
        seed: of every draw, 0 to 2^32 - 1; one seed and one table give one model.

    Raises:
        TrainingError: a value is out of its range.
    """

    data: Path | None = None
    version: str = "1.0.0"
    output_dir: Path = Path("models")
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            Version(self.version)
        except InvalidNameError as error:
            raise TrainingError(str(error)) from None
        if not 0 <= self.seed <= _MAX_SEED:
            raise TrainingError(f"seed is {self.seed}: choose one from 0 to {_MAX_SEED}")

    def check_output(self, name: str) -> None:
        """Refuse a version that exists, before hours go into it.

        Raises:
            TrainingError: it exists.
        """
        target = self.output_dir / name / self.version
        if target.exists():
            raise TrainingError(
                f"{target} exists, and a version never changes: choose another version than {self.version}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A fitted pipeline, what it was judged on, and the bundle made of it.

    Attributes:
        pipeline: the fitted pipeline, as exported.
        sample: the rows it was fitted on, without the target.
        test: rows held out from fitting and from every choice.
        target: the truth for the rows of `test`, shape [rows].
        metrics: measured on `test`, by name; a name that ends in `_baseline` is
            that of a rule without a model on the same rows.
        export: the bundle.
        notes: what was done to the data, in order, for people.
    """

    pipeline: Pipeline
    sample: pd.DataFrame
    test: pd.DataFrame
    target: NDArray[np.float64]
    metrics: dict[str, float]
    export: ExportedBundle
    notes: tuple[str, ...]
