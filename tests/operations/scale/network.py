"""Network namespaces with an address each, joined by a bridge in the namespace of the orchestrator.

No namespace has a name. So each of them, with its interfaces, ends with the processes in it, and
`enter` lets all processes end with the first one, whatever ends that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import wait_until

HUB = "10.77.0.1"
_BITS = 16
# Without one of its own, the bridge takes the lowest address of its members. When that member leaves, the
# others go on sending to the address that is gone, and an answer on its way may be late by a minute.
_BRIDGE_ADDRESS = "02:00:0a:4d:00:01"
_ENTER = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def enter(*arguments: str) -> list[str]:
    """The command that runs this Python, with these arguments, in namespaces of its own."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [*_ENTER, *as_root, sys.executable, *arguments]


def problem() -> str:
    """Why no namespaces can be made here; "" if they can."""
    probe = (
        "from tests.operations.scale import network\n"
        "with network.hub(), network.host('10.77.1.1'):\n"
        "    print('made')"
    )
    try:
        result = subprocess.run(enter("-c", probe), capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError as error:
        return f"{error.filename} is missing: apt-get install iproute2 util-linux"
    if result.returncode:
        return result.stderr.strip().rpartition("\n")[2] or f"unshare ended with {result.returncode}"
    return ""


@contextmanager
def hub() -> Iterator[None]:
    """Make the bridge, with the address `HUB`, in the namespace of this process."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "bridge", "address", _BRIDGE_ADDRESS, "type", "bridge")
    _run("ip", "address", "add", f"{HUB}/{_BITS}", "dev", "bridge")
    _run("ip", "link", "set", "bridge", "up")
    yield


@contextmanager
def host(address: str) -> Iterator[tuple[str, ...]]:
    """Make a namespace with an address; gives the command that runs another command in it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        own = Path("/proc/self/ns/net").readlink()
        link = Path(f"/proc/{holder.pid}/ns/net")
        wait_until(lambda: link.readlink() != own, "a network namespace")
        inside = ("nsenter", "--target", str(holder.pid), "--net")
        name = f"host-{holder.pid}"
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _run("ip", "link", "set", name, "master", "bridge", "up")
        _run(*inside, "ip", "address", "add", f"{address}/{_BITS}", "dev", "eth0")
        for interface in ("lo", "eth0"):
            _run(*inside, "ip", "link", "set", interface, "up")
        yield inside
    finally:
        holder.kill()
        holder.wait()


def _run(*command: str) -> None:
    """Run a command.

    Raises:
        OSError: the command fails; the message is the command's own.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")
