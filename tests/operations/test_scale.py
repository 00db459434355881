"""Servers behind DNS round robin; `python -m tests.operations.scale` runs this for longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from tests.conformance.engines import ENGINES
from tests.operations.scale import network
from tests.operations.scale.run import imbalance
from tests.processes import TIMEOUT_SECONDS, wait_until

_SECONDS = 400


def namespaces(pids: Iterable[int]) -> set[str]:
    """The network namespaces of processes."""
    found = set()
    for pid in pids:
        try:
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return found


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if why := network.problem():
        pytest.skip(f"no network namespaces can be made here: {why}")


@pytest.mark.parametrize("engine", ENGINES)
def test_servers_that_come_and_go_get_their_share_and_no_call_fails(engine: str) -> None:
    command = [sys.executable, "-m", "tests.operations.scale", "--engine", engine, "--json"]
    # The machine may be busy, and the spread is even in the end.
    load = ["--clients", "2", "--rate", "50", "--hold", "4", "--settling", "90", "--max-age", "3"]
    result = subprocess.run([*command, *load], capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    outcome = json.loads(result.stdout)
    assert [phase["servers"] for phase in outcome["phases"]] == [2, 4, 2]
    assert all(phase["imbalance"] <= 0.1 for phase in outcome["phases"]), outcome
    assert outcome["answered"] > 100
    assert (outcome["failed"], outcome["wrong"]) == (0, 0)


def test_namespaces_end_with_the_first_process_whatever_ends_it() -> None:
    code = (
        "import sys\n"
        "from tests.operations.scale import network\n"
        "with network.hub(), network.host('10.77.1.1'):\n"
        "    print('made', flush=True)\n"
        "    sys.stdin.read()"
    )
    with subprocess.Popen(
        network.enter("-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        descendants = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
        made = namespaces(descendants) - namespaces([os.getpid()])
        assert len(made) == 2
        process.kill()
    # The kernel ends the processes in the namespaces a moment later.
    wait_until(lambda: not made & namespaces(psutil.pids()), "the end of the namespaces")


def test_the_bridge_keeps_its_address_when_a_member_with_a_lower_one_leaves() -> None:
    code = (
        "import json, subprocess\n"
        "from tests.operations.scale import network\n"
        "from tests.processes import wait_until\n"
        "def addresses():\n"
        "    links = json.loads(subprocess.check_output(['ip', '-json', 'link']))\n"
        "    return {link['ifname']: link['address'] for link in links}\n"
        "with network.hub():\n"
        "    before = addresses()\n"
        "    with network.host('10.77.1.1'):\n"
        "        (member,) = addresses().keys() - before.keys()\n"
        "        subprocess.check_call(['ip', 'link', 'set', member, 'address', '00:00:00:00:00:02'])\n"
        "        during = addresses()\n"
        "    wait_until(lambda: member not in addresses(), 'the end of the member')\n"
        "    print(json.dumps([each['bridge'] for each in (before, during, addresses())]))"
    )
    result = subprocess.run(
        network.enter("-c", code), capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS
    )
    before, during, after = json.loads(result.stdout)
    assert before == during == after


def test_imbalance_is_what_the_busiest_has_above_the_mean() -> None:
    assert imbalance([10, 10, 10]) == 0
    assert imbalance([30, 10, 20]) == pytest.approx(0.5)
    assert imbalance([0, 0]) == float("inf")
