"""Estimators for scikit-learn pipelines, each with an exact translation to ONNX."""

from __future__ import annotations

from scorewire_training.estimators.calibration import LogOddsCalibrator
from scorewire_training.estimators.regressors import (
    ExposedRegressor,
    HurdleRegressor,
    LogRegressor,
    RateRegressor,
)
from scorewire_training.estimators.transformers import FrequencyEncoder, RateEncoder, TextCleaner

__all__ = [
    "ExposedRegressor",
    "FrequencyEncoder",
    "HurdleRegressor",
    "LogOddsCalibrator",
    "LogRegressor",
    "RateEncoder",
    "RateRegressor",
    "TextCleaner",
]
