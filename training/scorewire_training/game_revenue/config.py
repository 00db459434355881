"""The settings of the revenue model, which need no library of models to be checked."""

from __future__ import annotations

from dataclasses import dataclass

from scorewire_training.config import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRevenueConfig(TrainingConfig):
    """The settings of the revenue model."""
