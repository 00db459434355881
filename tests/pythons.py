"""Finds the Pythons of this machine: `python -m tests.pythons 3.12` prints the path of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

RELEASES = ("3.11", "3.12", "3.13")


def find_python(release: str) -> Path | None:
    """The Python of a release, from pyenv or from the path, if it can make environments.

    Args:
        release: such as "3.12".
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = sorted((pyenv / "versions").glob(f"{release}.*/bin/python"))
    on_path = shutil.which(f"python{release}")
    for candidate in [*candidates, *([Path(on_path)] if on_path else [])]:
        # A shim of pyenv exists even where it runs nothing.
        code = f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{release}')"
        if subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


if __name__ == "__main__":
    print(find_python(sys.argv[1]) or "")
