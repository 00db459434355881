"""What a training run found, as a page that is looked at."""

from __future__ import annotations

from scorewire_training.report.rendering import render_report

__all__ = ["render_report"]
