"""What can go wrong with a training run. Every message says what to do."""

from __future__ import annotations


class TrainingError(ValueError):
    """A setting, a table or its data do not allow a model to be trained."""
