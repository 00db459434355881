"""Starts real servers for the tests of the wire, one process each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import bundles

# Why the native engine cannot be put under test here; "" where it can.
NATIVE_MISSING = (
    ""
    if find_spec("scorewire_native")
    else "scorewire_native is not built here: install cargo, then run `make setup`"
)
NATIVE = pytest.param("native", marks=pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING))
# Engines that the whole suite is put under.
ENGINES = ("reference", NATIVE)
START_SECONDS = 60
# Of the server under test.
MAX_WATCHES = 8


class Server:
    """A running `scorewire serve`."""

    def __init__(self, process: subprocess.Popen[str], address: str, metrics_address: str) -> None:
        self.process = process
        self.address = address
        self.metrics_address = metrics_address

    def stop(self) -> int:
        """Ask it to drain; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


@contextmanager
def serving(folder: Path, models: Path, *flags: str) -> Iterator[Server]:
    """A server over a folder of bundles, once it has loaded them all.

    Args:
        folder: a folder of its own, for what it writes.
        models: the bundles.
        flags: further flags of `scorewire serve`.
    """
    ready, log = folder / "port", folder / "log"
    command = [
        Path(sys.executable).parent / "scorewire",
        "serve",
        "--models",
        models,
        "--listen",
        "127.0.0.1:0",
    ]
    command += ["--port-file", ready, "--metrics-port", "0", "--drain-seconds", "0", *flags]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCOREWIRE_")}
    with log.open("w") as sink:
        process = subprocess.Popen(
            list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stderr is not None
        lines = process.stderr
        loaded = threading.Event()

        def follow() -> None:
            for line in lines:
                sink.write(line)
                sink.flush()
                if '"serving"' in line or '"not serving' in line:
                    loaded.set()
            loaded.set()

        reader = threading.Thread(target=follow)
        reader.start()
        try:
            assert loaded.wait(START_SECONDS), f"not loaded in time: {log.read_text()}"
            assert process.poll() is None, f"the server ended: {log.read_text()}"
            address, metrics_address = ready.read_text().splitlines()
            yield Server(process, address, metrics_address)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            reader.join()
            lines.close()


def write_models(models: Path) -> None:
    """The bundles that the suite expects of a server under test.

    `sum` has versions 1.0.0, 1.1.0 (adds 100), 2.0.0-rc.1 (adds 1000) and 3.0.0,
    which is corrupt; `classes` takes a number only, `greeting` a text only,
    `tensors` has tensors of its own;
    `broken` has no version that may serve.
    """
    bundles.write_sum_bundle(models)
    bundles.write_sum_bundle(models, version="1.1.0", offset=100)
    bundles.write_sum_bundle(models, version="2.0.0-rc.1", offset=1000)
    for model, version in (("sum", "3.0.0"), ("broken", "1.0.0")):
        graph = bundles.write_sum_bundle(models, model=model, version=version) / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:-1])
    bundles.write_classifier_bundle(models)
    bundles.write_greeting_bundle(models)
    bundles.write_tensor_bundle(models)
    (models / "README.md").write_text("for people")
    (models / "sum" / ".1.2.0.half").mkdir()
