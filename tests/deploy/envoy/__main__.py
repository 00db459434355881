"""Kills and restarts two servers behind Envoy under load: `python -m tests.deploy.envoy --rounds 20`.

No call may fail. Prints how many calls were answered, and how many Envoy sent again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.deploy.envoy.load import Load, replace_all
from tests.deploy.envoy.proxy import proxying
from tests.go.rolling import two_servers
from tests.processes import COMMAND


def main() -> int:
    """Print the outcome of the calls; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how many times each server is ended")
    parser.add_argument("--engine", default="auto", choices=("auto", "native", "reference"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (
            two_servers(folder / "servers", asked.engine, COMMAND) as servers,
            proxying(folder / "envoy", [server.address for server in servers]) as envoy,
        ):
            envoy.wait_until_well(len(servers))
            with Load(envoy.address).running() as load:
                replace_all(servers, envoy, load, rounds=asked.rounds, calls=200)
            again = envoy.stat("upstream_rq_retry")
    print(f"{load.answered} answered, {len(load.failures)} failed, {again} sent again by Envoy")
    print(*load.failures[:10], sep="\n", end="")
    return int(bool(load.failures))


if __name__ == "__main__":
    sys.exit(main())
