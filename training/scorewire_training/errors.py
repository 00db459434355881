"""The error of training runs. Every message says what to do about it."""

from __future__ import annotations


class TrainingError(ValueError):
    """Training cannot start or go on with these settings or this data."""
