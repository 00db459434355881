"""Programs that the tests of `deploy/` run where they are installed; continuous integration has them all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool, of Debian's prometheus, is not installed"
)
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")


def run(*command: str | Path) -> str:
    """Run a program to its end, and return what it printed.

    Raises:
        AssertionError: the exit code is not 0.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
