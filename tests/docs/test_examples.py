"""The examples run. `make triton` runs the one that needs tritonclient."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.world import World
from tests.processes import TIMEOUT_SECONDS, own_environment, serving

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What the output of each example has, and whether it takes the address of a server.
CALLS_A_SERVER = {
    "async_stream.py": "customers are likely to leave",
    "score_frame.py": "c-4",
}
ALONE = {"churn.py": "one customer leaves with probability 0.", "test_offers.py": "3 passed"}
ELSEWHERE = {"triton_client.py"}


@pytest.fixture(scope="module")
def address(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("server"), world.folder / "models") as server:
        yield server.address


def run(folder: Path, *command: str | Path) -> str:
    """The output of an example in a folder of its own."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_somewhere() -> None:
    assert {path.name for path in EXAMPLES} == {*CALLS_A_SERVER, *ALONE, *ELSEWHERE}


@pytest.mark.parametrize("name", CALLS_A_SERVER)
def test_examples_that_call_a_server_run(name: str, address: str, tmp_path: Path) -> None:
    assert CALLS_A_SERVER[name] in run(tmp_path, ROOT / "examples" / name, address)


def test_the_whole_path_runs_twice(tmp_path: Path) -> None:
    for _ in range(2):
        assert ALONE["churn.py"] in run(tmp_path, ROOT / "examples/churn.py")
    assert (tmp_path / "models/churn/1.0.0/model.onnx").is_file()


def test_the_test_of_a_program_runs(tmp_path: Path) -> None:
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "examples/test_offers.py")
    assert ALONE["test_offers.py"] in run(tmp_path, *command)
