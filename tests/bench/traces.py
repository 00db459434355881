"""What traces cost the callers: `python -m tests.bench.traces`.

Native engines with the same bundle get the same load in turn: one without `--traces`, one with
`--traces-share 0`, one with 0.01, and once more one without, whose ratio tells how far two equal servers
are apart here. All have one core; the generator, h2load, has another one, with the
receiver of the spans. h2load repeats one row, the cheapest call there is, so a cost shows most. The table
shows the ratio of the rates, by the header that each call has. The last lines tell what became of the
spans. The exit code is 1 if the median of a ratio is below 0.995 for calls that are not traced, or below
0.98 where one call in a hundred is to be, or if `--traces-per-second` left out some of these.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tests.bench import h2load
from tests.bench.measure import Generator, Question, cores, pinned
from tests.bench.scored_model import make_model
from tests.bench.servers import Server, engine, printing_address

IN_FLIGHT = 64
UNSAMPLED = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
LEAST_UNSAMPLED, LEAST_SAMPLED = 0.995, 0.98


@dataclass(frozen=True, slots=True)
class Case:
    """Calls to a server that traces, compared with the same calls to one that does not."""

    name: str
    server: str
    headers: tuple[str, ...]
    least: float


CASES = (
    Case("no traces, another process", "off again", (), 0.0),
    Case("share 0, no traceparent", "share 0", (), LEAST_UNSAMPLED),
    Case("share 0, traceparent with flag 00", "share 0", (UNSAMPLED,), LEAST_UNSAMPLED),
    Case("share 0.01, traceparent with flag 00", "share 0.01", (UNSAMPLED,), LEAST_UNSAMPLED),
    Case("share 0.01, no traceparent", "share 0.01", (), LEAST_SAMPLED),
)


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=31, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Length of one load."
)
@click.option(
    "--per-second",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="--traces-per-second of the servers; well above one call in a hundred.",
)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(rounds: int, seconds: float, per_second: int, quick: bool) -> None:
    if h2load.missing():
        raise click.ClickException(h2load.HOW_TO_INSTALL)
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        models = model.bundle.path.parents[1]
        server_core, generator_core = cores()
        with pinned(generator_core):
            command = (sys.executable, "-m", "tests.bench.traces_receiver")
            receiver = stack.enter_context(printing_address("receiver", command))
        flags = ("--traces", f"http://{receiver.address}", "--traces-per-second", str(per_second))
        running: dict[str, Server] = {}
        with pinned(server_core):
            for server, options in {
                "off": (),
                "off again": (),
                "share 0": (*flags, "--traces-share", "0"),
                "share 0.01": (*flags, "--traces-share", "0.01"),
            }.items():
                started = engine("native", folder / server.replace(" ", "-"), models, *options)
                running[server] = stack.enter_context(started)
        generator = Generator(generator_core, folder)
        row = Question.write(model.calls(rows_per_call=1, count=1)[0], folder / "row")

        def rate(server: Server, headers: tuple[str, ...]) -> float:
            question = replace(row, headers=headers)
            return generator.load(server, question, in_flight=IN_FLIGHT, seconds=seconds).calls_per_second

        good = True
        click.echo("| calls | calls/s, off | with traces | ratio | rounds |")
        click.echo("|---|---|---|---|---|")
        for case in CASES:
            off, on = running["off"], running[case.server]
            rate(off, case.headers), rate(on, case.headers)
            pairs = []
            for number in range(rounds):
                order = (off, on) if number % 2 else (on, off)
                measured = {server.pid: rate(server, case.headers) for server in order}
                pairs.append((measured[off.pid], measured[on.pid]))
            ratios = [there / here for here, there in pairs]
            ratio = statistics.median(ratios)
            good &= ratio >= case.least
            rates = " | ".join(f"{statistics.median(each):,.0f}" for each in zip(*pairs, strict=True))
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            click.echo(f"| {case.name} | {rates} | {ratio:.3f} | {spread} |")
        click.echo("")
        for server in ("share 0", "share 0.01"):
            counts = _spans(running[server])
            click.echo(f"{server}: " + ", ".join(f"{name} {value:,.0f}" for name, value in counts.items()))
            good &= not counts["limited calls"]
    sys.exit(not (good or quick))


def _spans(server: Server) -> dict[str, float]:
    """What became of the spans of a server, and the calls that the limit by second left out."""
    assert server.metrics is not None
    told = {name: value for (name, labels), value in server.metrics().items() if not labels}
    dropped = sum(v for (name, _), v in server.metrics().items() if name == "scorewire_traces_dropped_total")
    return {
        "sampled": told["scorewire_traces_sampled_total"],
        "sent": told["scorewire_traces_sent_total"],
        "waiting": told["scorewire_traces_waiting"],
        "dropped": dropped,
        "limited calls": told["scorewire_traces_limited_total"],
    }


if __name__ == "__main__":
    main()
