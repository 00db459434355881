"""Tables to train on, small enough for tests."""

from __future__ import annotations

import functools

from scorewire_training.game_revenue.generate import generate_users
from tests.scorewire_training.repurchase.shop import make_lines


@functools.cache
def shop() -> bytes:
    """Transactions of a shop, as CSV."""
    text: str = make_lines().to_csv(index=False)
    return text.encode()


@functools.cache
def users() -> bytes:
    """Users of a game, as CSV."""
    text: str = generate_users(1_000, seed=2).to_csv(index=False)
    return text.encode()
