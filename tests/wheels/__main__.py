"""Installs the wheels of `dist` in clean environments, and uses them: `python -m tests.wheels`.

It does so for each Python that it finds, or for those of --python. The dependencies come
from the package index that pip is set to. In each environment, `examples/churn.py` trains,
exports, serves and scores, and every command of `scorewire` is there. Where native wheels are
built, the export has compared the bits of the wheel of the kernel.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.pythons import RELEASES, find_python

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
COMMAND_SECONDS = 900
EVERYTHING = ["scorewire[all]"]
# Where no Rust is installed, there is no wheel of a native crate.
WITHOUT_NATIVE = [
    "scorewire[models,pandas]",
    "scorewire-gateway",
    "scorewire-loadtest",
    "scorewire-records",
    "scorewire-server",
    "scorewire-training[xgboost-cpu]",
]


def main() -> int:
    """Print a line for each Python; returns 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, action="append", help="a Python; may be repeated")
    pythons = parser.parse_args().python or [found for each in RELEASES if (found := find_python(each))]
    failed = 0
    for python in pythons:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                told = _install_and_use(python, Path(folder))
            except subprocess.CalledProcessError as error:
                failed += 1
                told = f"FAILED: {' '.join(map(str, error.cmd))}\n{error.stdout}"
        print(f"{python} ({time.monotonic() - begin:.0f} s): {told}", flush=True)
    return int(failed > 0)


def _install_and_use(python: Path, folder: Path) -> str:
    """Install everything in a new environment, and use it; returns a summary."""
    _run(python, "-m", "venv", folder / "environment", cwd=folder)
    binaries = folder / "environment" / "bin"
    native = any(DIST.glob("scorewire_native-*.whl"))
    _run(
        binaries / "pip",
        "install",
        "--find-links",
        DIST,
        *(EVERYTHING if native else WITHOUT_NATIVE),
        cwd=folder,
    )
    _run(binaries / "pip", "check", cwd=folder)
    commands = _run(binaries / "scorewire", "--help", cwd=folder)
    missing = [line for line in commands.splitlines() if "pip install" in line]
    assert not missing, f"commands that are not installed: {missing}"
    engine = _run(binaries / "scorewire", "serve", "--version", cwd=folder).strip()
    assert ("engine native" in engine) == native, engine
    _run(binaries / "python", ROOT / "examples/churn.py", cwd=folder)
    verified = _run(binaries / "scorewire", "verify", "models/churn/1.0.0", cwd=folder)
    assert ("own bits" in verified) == native, verified
    return engine


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
