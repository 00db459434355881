from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scorewire_contract import bundle as contract
from scorewire_server.catalog.repository import BundleFolder, scan
from scorewire_server.loading.sandbox import Sandbox, _allowed_bytes, _kill
from tests import bundles
from tests.conformance.engines import ENGINES
from tests.scorewire_server.models import sum_graph, write_bundle_of, write_endless_bundle


def _bomb() -> onnx.ModelProto:
    """A graph that allocates 64 GiB; the shape is known only at run time."""
    nodes = [
        helper.make_node("Mul", ["big", "big"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["total"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["sum", "wide"], ["value"]),
    ]
    return sum_graph(nodes, {"big": np.array([1 << 17]), "axis": np.array([1])})


@pytest.mark.parametrize("engine", ENGINES)
async def test_bundles_that_ask_for_too_much_are_refused_and_the_next_is_tried(
    models: Path, engine: str
) -> None:
    write_bundle_of(models, "bomb", _bomb())
    write_endless_bundle(models)
    bundles.write_sum_bundle(models)
    (bundles.write_sum_bundle(models, version="2.0.0") / "golden.json").unlink()
    sandbox = Sandbox(seconds=3, memory_bytes=1 << 30, threads=1, engine=engine)
    tried = {f"{each.model} {each.version}": await sandbox.try_load(each) for each in scan(models)}
    reasons = {name: each.reason for name, each in tried.items()}
    await sandbox.close()
    assert "allocate memory" in reasons["bomb 1.0.0"]
    assert reasons["endless 1.0.0"] == "its first load took more than 3 seconds"
    assert reasons["sum 1.0.0"] == ""
    assert tried["sum 1.0.0"].digest == contract.read_bundle(models / "sum" / "1.0.0").digest
    assert reasons["sum 2.0.0"] == "golden.json is missing"


def test_a_child_ends_by_itself_if_its_server_is_gone(models: Path) -> None:
    write_endless_bundle(models)
    command = [
        sys.executable,
        "-m",
        "scorewire_server.loading.sandbox",
        "1",
        str(1 << 30),
        "1",
        "reference",
        "auto",
    ]
    line = json.dumps([str(models / "endless" / "1.0.0"), "endless", "1.0.0"]) + "\n"
    ended = subprocess.run(command, input=line, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGALRM
    assert ended.stdout == "scorewire sandbox: ready\n"


async def test_what_libraries_print_in_the_sandbox_is_skipped(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = """
import os, threading
def print_on():
    while True:
        os.write(1, b"to be had in {colours}")
        os.write(1, b"\\n")
os.write(1, b"no end of line: ")
threading.Thread(target=print_on, daemon=True).start()
"""
    (tmp_path / "sitecustomize.py").write_text(noise, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bundles.write_sum_bundle(models)
    (bundles.write_sum_bundle(models, version="2.0.0") / "golden.json").unlink()
    sandbox = Sandbox(seconds=60, memory_bytes=1 << 30, threads=1, engine="reference")
    tried = {str(each.version): (await sandbox.try_load(each)).reason for each in scan(models)}
    await sandbox.close()
    assert tried == {"1.0.0": "", "2.0.0": "golden.json is missing"}


async def test_a_bundle_that_ends_the_child_is_refused_and_the_next_is_tried(models: Path) -> None:
    bundles.write_sum_bundle(models)
    (folder,) = scan(models)
    sandbox = Sandbox(seconds=30, memory_bytes=1 << 30, threads=1, engine="reference")
    await sandbox.start()
    sandbox._free[0].kill()  # as if the runtime crashed
    reason = (await sandbox.try_load(folder)).reason
    assert "ended the process that tried it (signal SIGKILL)" in reason
    assert f"{1 << 30} bytes (--trial-memory-bytes)" in reason
    assert (await sandbox.try_load(BundleFolder(folder.path, "other", "1.0.0"))).reason != ""
    assert (await sandbox.try_load(folder)).reason == ""
    await sandbox.close()


async def test_a_child_that_has_just_ended_keeps_its_own_exit_code() -> None:
    codes = set()
    for _ in range(100):
        child = await asyncio.create_subprocess_exec("sleep", "600")
        child.kill()
        with contextlib.suppress(ChildProcessError):
            # The child has ended, and asyncio may not have noticed.
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it ends at once
        codes.add(await _kill(child))
    assert codes == {-signal.SIGKILL}


async def test_a_graph_without_end_holds_up_no_other_and_ends_with_the_sandbox(models: Path) -> None:
    write_endless_bundle(models)
    bundles.write_sum_bundle(models)
    endless, sound = scan(models)
    sandbox = Sandbox(seconds=600, memory_bytes=1 << 30, threads=1, engine="reference", processes=2)
    trying = asyncio.create_task(sandbox.try_load(endless))
    for _ in range(2):
        assert (await sandbox.try_load(sound)).reason == ""
    assert not trying.done()
    children = [*sandbox._busy, *sandbox._free]
    async with asyncio.timeout(60):
        await sandbox.close()
        assert (await trying).reason == "the server is about to stop"
        assert (await sandbox.try_load(sound)).reason == "the server is about to stop"
    assert len(children) == 2
    assert all(child.returncode is not None for child in children)


async def test_loads_beyond_the_number_of_processes_wait_for_each_other(models: Path) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        bundles.write_sum_bundle(models, version=version)
    sandbox = Sandbox(seconds=60, memory_bytes=1 << 30, threads=1, engine="reference", processes=1)
    tried = await asyncio.gather(*map(sandbox.try_load, scan(models)))
    assert [each.reason for each in tried] == ["", "", ""]
    assert len(sandbox._free) == 1
    await sandbox.close()


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from scorewire_server.catalog.repository import scan
from scorewire_server.loading.sandbox import Sandbox

async def main(models, more):
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + more, own + more))
    sandbox = Sandbox(seconds=60, memory_bytes=1 << 30, threads=1, engine="reference")
    print((await sandbox.try_load(scan(models)[0])).reason)
    await sandbox.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def _reason_under_a_limit(models: Path, more_bytes: int) -> str:
    """The reason of the sandbox if the system limits each process to this much more than a server has."""
    command = [sys.executable, "-c", _LIMITED, str(models), str(more_bytes)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return ended.stdout.strip()


def test_a_limit_of_the_system_is_named_if_the_child_dies_of_it(models: Path) -> None:
    bundles.write_sum_bundle(models)
    reason = _reason_under_a_limit(models, 40 << 20)
    assert reason.startswith("its first load")
    assert "--trial-memory-bytes" in reason
    assert "ulimit -v" in reason


def test_a_limit_of_the_system_that_leaves_room_refuses_nothing(models: Path) -> None:
    bundles.write_sum_bundle(models)
    assert _reason_under_a_limit(models, 1 << 40) == ""


def test_a_bundle_that_asks_for_too_much_memory_is_told_the_setting(models: Path) -> None:
    write_bundle_of(models, "bomb", _bomb())
    reason = _reason_under_a_limit(models, 1 << 40)
    assert "allocate memory" in reason
    assert f"{1 << 30} bytes (--trial-memory-bytes)" in reason


def test_a_large_graph_may_take_more_memory_unless_a_bound_is_set(tmp_path: Path) -> None:
    assert _allowed_bytes(0, tmp_path) == 4 << 30
    with (tmp_path / "model.onnx").open("wb") as graph:
        graph.truncate(1 << 30)
    assert _allowed_bytes(0, tmp_path) == 40 << 30
    assert _allowed_bytes(1 << 30, tmp_path) == 1 << 30
