"""The use case "who buys again": from a table of transactions to a bundle."""

from __future__ import annotations

from scorewire_training.repurchase.model import RepurchaseConfig, train_repurchase

__all__ = ["RepurchaseConfig", "train_repurchase"]
