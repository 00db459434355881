"""Programs that the tests of `deploy/` run where they are installed; continuous integration has them all.

Prometheus is Debian's package; `make tools` makes the others.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT, program

PROMETHEUS = Path(shutil.which("prometheus") or "/usr/bin/prometheus")
PROMTOOL = Path(shutil.which("promtool") or "/usr/bin/promtool")
COMPOSE_CONFIG = program("compose_config")
COLLECTOR = program("collector")
MLFLOW = ROOT / ".venv-mlflow/bin/mlflow"


def needs(*programs: Path) -> pytest.MarkDecorator:
    """Skips a test where one of the programs is missing."""
    missing = [program.name for program in programs if not program.exists()]
    what = ", ".join(missing)
    return pytest.mark.skipif(bool(missing), reason=f"{what}: install prometheus, or run make tools")


def run(*command: str | Path) -> str:
    """Run a program to its end, and return what it printed.

    Raises:
        AssertionError: the exit code is not 0.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
