"""Metrics on held-out rows, each compared with baselines: simple rules without a model."""

from __future__ import annotations

from scorewire_training.evaluation.amounts import evaluate_amounts, tabulate_deciles
from scorewire_training.evaluation.probabilities import (
    calibration_error,
    evaluate_probabilities,
    tabulate_reliability,
)

__all__ = [
    "calibration_error",
    "evaluate_amounts",
    "evaluate_probabilities",
    "tabulate_deciles",
    "tabulate_reliability",
]
