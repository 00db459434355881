"""Runs as `python -m scorewire_training`, for programs: `train` and its commands."""

from scorewire_training.cli.train import train

train(prog_name="python -m scorewire_training")
