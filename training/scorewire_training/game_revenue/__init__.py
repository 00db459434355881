"""The use case "first week's revenue of a game's new users": from a table of users to a bundle."""

from __future__ import annotations

from scorewire_training.game_revenue.model import GameRevenueConfig, train_game_revenue

__all__ = ["GameRevenueConfig", "train_game_revenue"]
