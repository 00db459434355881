"""Runs an unmodified grpc-js client that compresses messages against both engines: `python -m tests.node`.

This needs Node.js and npm, which downloads the packages of package-lock.json.
Without them, nothing is run. Continuous integration leaves it out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import grpc_tools

from tests import bundles
from tests.processes import serving

HERE = Path(__file__).parent
PROTOS = HERE.parents[1] / "proto"
# The folders of google/rpc/status.proto and of google's other .proto files in installed packages.
PACKAGES = Path(grpc_tools.__file__).parents[1]
SECONDS = 300


def main() -> int:
    """Print which engines answered; returns 1 if one did not."""
    if shutil.which("npm") is None:
        print("No npm here, so the Node.js client is not run.")
        return 0
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        client = folder / "client"
        shutil.copytree(HERE, client, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        subprocess.run(["npm", "ci", "--silent", "--no-audit"], cwd=client, check=True, timeout=SECONDS)
        for engine in ("reference", "native") if find_spec("scorewire_native") else ("reference",):
            models = folder / engine
            bundles.write_sum_bundle(models)
            with serving(folder, models, "--engine", engine) as server:
                command = ["node", "client.js", server.address, str(PROTOS), str(PACKAGES)]
                good = subprocess.run(command, cwd=client, timeout=SECONDS, check=False).returncode == 0
                print(f"grpc-js in gzip against the {engine} engine: {'passed' if good else 'FAILED'}")
                failures += not good
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
