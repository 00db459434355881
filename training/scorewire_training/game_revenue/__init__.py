"""The use case "first week's revenue of a game's new users": from a table of users to a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scorewire_training.game_revenue.config import GameRevenueConfig

if TYPE_CHECKING:
    from scorewire_training.game_revenue.model import train_game_revenue

__all__ = ["GameRevenueConfig", "train_game_revenue"]


def __getattr__(name: str) -> Any:
    """Import the training on first use only: it imports every library of models."""
    if name != "train_game_revenue":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scorewire_training.game_revenue import model  # noqa: PLC0415 - lazy on purpose

    return model.train_game_revenue
