"""The commands that score new rows with a trained model, ready to be copied to a shell."""

from __future__ import annotations

import shlex

from scorewire_training.config import TrainingConfig
from scorewire_training.output.feature_table import FEATURES_FILE
from scorewire_training.training_result import TrainingResult

_SCORES_FILE = "scores.csv"


def scoring_commands(result: TrainingResult, config: TrainingConfig) -> tuple[str, str]:
    """Two commands: from the table to rows as the model takes them, and from the rows to scores.

    The second one needs a server that serves the model.
    """
    data = ["--data", str(config.data)] if config.data else []
    features = [*result.features_options, *data, *config.to_options(), "--output", FEATURES_FILE]
    predict = ["--model", result.name, "--version", config.version]
    predict += ["--input", FEATURES_FILE, "--output", _SCORES_FILE]
    return (
        shlex.join(["scorewire", "train", "features", *features]),
        shlex.join(["scorewire", "predict", *predict]),
    )
