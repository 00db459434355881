"""What access control costs, and what it bears: `python -m tests.bench.access`.

Native engines with the same bundle get the same loads in turn, with `--access` and without. All have one
core; the generators have another one. All rows differ, and every answer is compared. The parts:

rates: calls a second and medians with an API key, with a JWT that is remembered and with mTLS, next to the
same calls without access control, in alternated rounds. The callers have patterns for rights, and limits
that they never reach. The generator sends a token with all its bytes in each call, which costs any server
something; so the table has the same calls to a server that does not look at the token, too. Clients whose
HPACK indexes the token, as in Go, have a table of their own.

tenants: what a tenant notices of another one that calls at 10 times its limit, and of one without limits that
takes all that it can get.

flood: what honest callers keep of their rate beside tokens that name random keys (`kid`), and how often the
server asks the issuer for its keys.

refusals: how long a refusal takes by its cause, and how soon a revoked key is refused.

The last table has the bars. The exit code is 1 if one is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from tests.bench.access import flood, rates, refusals, tenants
from tests.bench.access.callers import DIFFERENT_CALLS, Bench
from tests.bench.measure import cores
from tests.bench.scored_model import make_model
from tests.bench.tables import Bar

_PARTS: Mapping[str, Callable[[Bench], list[Bar]]] = {
    "rates": rates.measure,
    "tenants": tenants.measure,
    "flood": flood.measure,
    "refusals": refusals.measure,
}


@click.command(help=__doc__)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(list(_PARTS)),
    default=list(_PARTS),
    help="Part to measure; may be repeated.  [default: all]",
)
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Length of one load."
)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(parts: tuple[str, ...], rounds: int, seconds: float, quick: bool) -> None:
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        server_core, core = cores()
        bench = Bench(
            folder=folder,
            model=model,
            calls=model.calls(rows_per_call=1, count=DIFFERENT_CALLS),
            rounds=rounds,
            seconds=seconds,
            server_core=server_core,
            core=core,
            quick=quick,
        )
        bars = [bar for part in parts for bar in _PARTS[part](bench)]
    click.echo("\n| what | target | median | rounds | |\n|---|---|---|---|---|")
    for bar in bars:
        spread = f"{min(bar.values):.3g} to {max(bar.values):.3g}"
        click.echo(
            f"| {bar.name} | {bar.target} | {bar.median:.3g} | {spread} |"
            f" {'met' if bar.met else '**missed**'} |"
        )
    sys.exit(not (quick or all(bar.met for bar in bars)))


if __name__ == "__main__":
    main()
