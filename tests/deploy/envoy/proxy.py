"""Runs Envoy with the configuration of `deploy/envoy`, on free ports and in front of servers of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import httpx
import yaml

from tests.deploy.tools import ROOT
from tests.processes import TIMEOUT_SECONDS, wait_until

ENVOY = Path(sys.executable).with_name("envoy")
CONFIGURATION = ROOT / "deploy/envoy/envoy.yaml"
DESCRIPTORS = "/etc/envoy/scorewire.pb"


class Envoy:
    """A running Envoy.

    Attributes:
        address: HOST:PORT for gRPC and JSON.
    """

    def __init__(self, admin: str) -> None:
        self._admin = admin
        # Ports are known before they are open.
        wait_until(lambda: httpx.get(f"http://{admin}/ready").status_code == 200, "Envoy to be ready")
        (listener,) = json.loads(self._read("/listeners?format=json"))["listener_statuses"]
        socket = listener["local_address"]["socket_address"]
        self.address = f"{socket['address']}:{socket['port_value']}"

    def stat(self, name: str) -> int:
        """A counter or a gauge of the servers."""
        counted = json.loads(self._read(f"/stats?format=json&filter=^cluster.servers.{name}$"))["stats"]
        return int(counted[0]["value"]) if counted else 0

    def wait_until_well(self, servers: int) -> None:
        """Wait until a number of servers is well."""
        wait_until(lambda: self.stat("membership_healthy") == servers, f"{servers} servers that are well")

    def _read(self, path: str) -> str:
        with urlopen(f"http://{self._admin}{path}", timeout=TIMEOUT_SECONDS) as answer:
            return str(answer.read(), "utf-8")


def write_descriptors(path: Path) -> None:
    """Write the descriptor set by the documented command."""
    subprocess.run([sys.executable, ROOT / "proto/generate.py", "--descriptors", path], check=True)


@contextmanager
def proxying(folder: Path, servers: Sequence[str]) -> Iterator[Envoy]:
    """Run Envoy in front of servers; the block begins when Envoy takes calls.

    Args:
        folder: a folder for its files; created if it does not exist.
        servers: HOST:PORT of each server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_descriptors(folder / "scorewire.pb")
    text = CONFIGURATION.read_text(encoding="utf-8")
    document = yaml.safe_load(text.replace(DESCRIPTORS, str(folder / "scorewire.pb")))
    document["admin"]["address"]["socket_address"]["port_value"] = 0
    resources = document["static_resources"]
    resources["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    (endpoints,) = resources["clusters"][0]["load_assignment"]["endpoints"]
    endpoints["lb_endpoints"] = [_endpoint(server) for server in servers]
    configuration, admin = folder / "envoy.json", folder / "admin"
    configuration.write_text(json.dumps(document), encoding="utf-8")
    command: list[str | Path] = [ENVOY, "-c", configuration, "--admin-address-path", admin]
    command += ["--disable-hot-restart", "--concurrency", "1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        # Envoy creates the file first, and then writes to it.
        wait_until(
            lambda: (admin.exists() and admin.stat().st_size > 0) or process.poll() is not None,
            "Envoy's admin address",
        )
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield Envoy(admin.read_text(encoding="utf-8"))
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)


def _endpoint(server: str) -> dict[str, object]:
    host, _, port = server.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    return {"endpoint": {"address": address}}
