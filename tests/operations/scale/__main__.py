"""Scales servers behind DNS round robin up and down under load, in network namespaces of its own.

Each server and each client process has a namespace with an address. The clients find the servers by
DNS, through the SDK. For each number of servers, the table tells how long it took until the rows were
spread evenly, and how even they were then.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.operations.scale import network
from tests.operations.scale.run import Outcome, Plan, run

_INSIDE = "SCALE_TEST_INSIDE"


@click.command(help=__doc__)
@click.option(
    "--engine", type=click.Choice(["native", "reference"]), default=Plan().engine, show_default=True
)
@click.option("--clients", default=Plan().clients, show_default=True, help="Client processes.")
@click.option("--rate", default=Plan().rate, show_default=True, help="Calls per second of each.")
@click.option("--servers", default="2,4,2", show_default=True, help="Number of servers in each phase.")
@click.option(
    "--hold", default=Plan().hold_seconds, show_default=True, help="Seconds measured in each phase."
)
@click.option(
    "--settling",
    default=Plan().settling_seconds,
    show_default=True,
    help="Seconds that a change may take.",
)
@click.option(
    "--max-age", default=Plan().max_age_seconds, show_default=True, help="Of connections, in seconds."
)
@click.option("--limit", default=0.1, show_default=True, help="The largest imbalance.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    *,
    engine: str,
    clients: int,
    rate: float,
    servers: str,
    settling: float,
    hold: float,
    max_age: float,
    limit: float,
    as_json: bool,
) -> None:
    if _INSIDE not in os.environ:
        if why := network.problem():
            raise click.ClickException(f"no network namespaces can be made here: {why}")
        command = network.enter("-m", "tests.operations.scale", *sys.argv[1:])
        sys.exit(subprocess.run(command, check=False, env={**os.environ, _INSIDE: "1"}).returncode)
    plan = Plan(
        engine=engine,
        clients=clients,
        rate=rate,
        counts=tuple(map(int, servers.split(","))),
        settling_seconds=settling,
        hold_seconds=hold,
        max_age_seconds=max_age,
    )
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(plan, Path(folder), limit=limit)
    click.echo(json.dumps(dataclasses.asdict(outcome)) if as_json else _table(outcome))
    if outcome.failed or outcome.wrong or any(phase.settled_seconds is None for phase in outcome.phases):
        sys.exit(1)


def _table(outcome: Outcome) -> str:
    lines = ["| servers | even after | imbalance | rows of each |", "|---|---|---|---|"]
    for phase in outcome.phases:
        settled = "never" if phase.settled_seconds is None else f"{phase.settled_seconds:.1f} s"
        rows = ", ".join(f"{count:,}" for count in phase.rows)
        lines.append(f"| {phase.servers} | {settled} | {phase.imbalance:.1%} | {rows} |")
    lines.append("")
    lines.append(
        f"{outcome.answered:,} calls answered, {outcome.failed:,} failed, {outcome.wrong:,} wrong;"
        f" {outcome.questions:,} questions to DNS"
    )
    return "\n".join([*lines, *outcome.failures])


if __name__ == "__main__":
    main()
