"""The tables of `scorewire models`."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from scorewire import ModelStatus, VersionState, VersionStatus
from scorewire._cli.rendering import status_view


def test_a_version_shows_what_runs_it_or_why_it_was_refused() -> None:
    serving = VersionStatus(
        version="1.0.0",
        state=VersionState.SERVING,
        reason="",
        serving_since=datetime(2026, 5, 4, tzinfo=UTC),
        runs_on="kernel",
        runs_on_details="[b]heap[/b]; 1.4 MB",
    )
    refused = VersionStatus(
        version="1.1.0", state=VersionState.REFUSED, reason="model.onnx is broken", serving_since=None
    )
    status = ModelStatus(name="churn", default_version="1.0.0", versions=(refused, serving))
    shown = io.StringIO()
    Console(file=shown, width=120).print(status_view(status))
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.getvalue().splitlines()]
    assert "1.1.0 refused – – model.onnx is broken" in lines
    assert "1.0.0 (default) serving 2026-05-04 00:00:00Z kernel [b]heap[/b]; 1.4 MB" in lines
