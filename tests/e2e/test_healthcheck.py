"""`python -m scorewire_server.healthcheck`, as the health check of a container runs it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.bundles import write_sum_bundle
from tests.processes import run_command, serving

# Long, because a machine may be busy.
HEALTHCHECK = (sys.executable, "-m", "scorewire_server.healthcheck", "--timeout-seconds", "60")


def test_a_server_that_serves_is_well(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    with serving(tmp_path, tmp_path / "models") as server:
        for flags in ((), ("--service", "sum")):
            asked = run_command(server.address, *flags, command=HEALTHCHECK)
            assert (asked.returncode, asked.stdout) == (0, "SERVING\n")
        asked = run_command(server.address, "--service", "nobody", command=HEALTHCHECK)
        assert asked.returncode == 1
        assert asked.stdout.startswith("NOT_FOUND")


def test_a_server_without_bundles_is_not_well(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with serving(tmp_path, tmp_path / "models") as server:
        asked = run_command(server.address, command=HEALTHCHECK)
    assert (asked.returncode, asked.stdout) == (1, "NOT_SERVING\n")


def test_an_address_where_nobody_listens_is_not_well() -> None:
    with socket.socket() as unused:
        # Bound but not listening, so that no other process takes the port.
        unused.bind(("127.0.0.1", 0))
        asked = run_command(f"127.0.0.1:{unused.getsockname()[1]}", command=HEALTHCHECK)
    assert asked.returncode == 1
    assert asked.stdout.startswith("UNAVAILABLE")


def test_an_authority_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    asked = run_command("127.0.0.1:1", "--tls-ca", tmp_path / "nowhere", command=HEALTHCHECK)
    assert asked.returncode == 2
    assert str(tmp_path / "nowhere") in asked.stderr
    assert "Traceback" not in asked.stderr
