"""The report of a training run: one HTML page with charts."""

from __future__ import annotations

from scorewire_training.report.rendering import render_report

__all__ = ["render_report"]
