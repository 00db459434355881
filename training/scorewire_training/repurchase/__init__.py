"""The use case "who buys again": from a table of transactions to a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scorewire_training.repurchase.config import RepurchaseConfig

if TYPE_CHECKING:
    from scorewire_training.repurchase.model import train_repurchase

__all__ = ["RepurchaseConfig", "train_repurchase"]


def __getattr__(name: str) -> Any:
    """Import the training on first use only: it imports every library of models."""
    if name != "train_repurchase":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from scorewire_training.repurchase import model  # noqa: PLC0415 - lazy on purpose

    return model.train_repurchase
