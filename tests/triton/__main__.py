"""Runs unmodified tritonclient against both engines: `python -m tests.triton`.

tritonclient requires other releases of grpcio and protobuf, so it is installed in
`.venv-triton`, which `make triton` creates. The snippet of docs/triton.md and
examples/triton_client.py are run there, too. With --examples FOLDER, scripts from
src/python/examples of triton-inference-server/client are run unmodified as well, and
must exit with 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from tests.access_files import new_key
from tests.docs.pages import ROOT, read_blocks
from tests.docs.world import make_world
from tests.processes import serving
from tests.scorewire_gateway.gateways import gateway_process
from tests.triton.serving import served

HERE = Path(__file__).parent
PAGE = ROOT / "docs/triton.md"
EXAMPLE_SECONDS = 60


def main() -> int:
    """Run all; returns 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", default=".venv-triton/bin/python", help="the Python of tritonclient's environment"
    )
    parser.add_argument("--examples", type=Path, help="a folder of example scripts")
    arguments = parser.parse_args()
    failures = 0
    for engine in ("reference", "native") if find_spec("scorewire_native") else ("reference",):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            server = stack.enter_context(served(folder, engine))
            gateway = stack.enter_context(gateway_process(folder / "gateway", server.address))
            key = new_key(folder / "access.toml", "shop", predict="simple")
            flags = ("--engine", engine, "--access", folder / "access.toml")
            state = ("--state-file", folder / "guarded.json")
            guarded = stack.enter_context(serving(folder / "guarded", folder / "models", *flags, *state))
            print(f"tritonclient against the {engine} engine, and against a gateway before it", flush=True)
            client = str(HERE / "client")
            tests = [arguments.python, "-m", "pytest", "-c", f"{client}/pytest.ini", client]
            addresses = ["--address", server.address, "--http-address", gateway.address]
            addresses += ["--guarded-address", guarded.address]
            failures += _run([*tests, *addresses], SCOREWIRE_API_KEY=key) != 0
            for example in sorted(arguments.examples.glob("*.py")) if arguments.examples else ():
                failed = _run([arguments.python, str(example), "-u", server.address], quiet=True) != 0
                print(f"{'FAILED' if failed else 'passed'} {example.name}", flush=True)
                failures += failed
    with tempfile.TemporaryDirectory() as folder:
        failures += _run_snippets(Path(folder), arguments.python)
    return int(failures > 0)


def _run_snippets(folder: Path, python: str) -> int:
    """Run the snippet of the page, and the example, on the model that they call; returns how many fail."""
    world = make_world(folder / "world")
    failures = 0
    with serving(folder, world.folder / "models") as server:
        (snippet,) = (
            block
            for block in read_blocks(PAGE.read_text(encoding="utf-8"))
            if block.language == "python" and "tritonclient" in block.text
        )
        script = folder / "snippet.py"
        script.write_text(snippet.text.replace("127.0.0.1:8500", server.address), encoding="utf-8")
        for path in (script, ROOT / "examples/triton_client.py"):
            failed = _run([python, str(path), server.address]) != 0
            print(f"{'FAILED' if failed else 'passed'} {path.name}", flush=True)
            failures += failed
    return failures


def _run(command: list[str], *, quiet: bool = False, **variables: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    sink = subprocess.DEVNULL if quiet else None
    try:
        done = subprocess.run(command, env=environment, timeout=EXAMPLE_SECONDS, stdout=sink, check=False)
        return done.returncode
    except subprocess.TimeoutExpired:
        return 1


if __name__ == "__main__":
    sys.exit(main())
