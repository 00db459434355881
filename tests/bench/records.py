"""What records cost the callers: `python -m tests.bench.records`.

Two native engines with the same bundle, one of which records every row, get the same loads in turn. Both
have one core, which the thread that writes the spool and the shipper share; the generator has another
one. All rows differ, and every answer is compared. The tables show rates and medians of latencies, the
records that were dropped (which should be none), and the resident memory before and after. The exit
code is 1 if the ratio of rates at 64 in flight is below 0.9, or a median is more than 3 µs longer.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import grpc

from scorewire_loadtest.plan import ClosedLoop
from scorewire_loadtest.target import Target
from scorewire_proto.v1 import models_pb2
from tests.bench import native_load, servers
from tests.bench.measure import cores, pinned, resident_bytes
from tests.bench.scored_model import make_model
from tests.bench.servers import Server

DIFFERENT_CALLS = 4096
# Connections, and calls in flight on each.
RATES = [(1, 64), (64, 1), (1, 8)]
LEAST_RATIO = 0.9
MOST_ADDED_US = 3.0
_STATISTICS = "/scorewire.v1.ModelService/GetStatistics"


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Length of one load."
)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(rounds: int, seconds: float, quick: bool) -> None:
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        models = model.bundle.path.parents[1]
        server_core, generator_core = cores()
        with pinned(server_core):
            off = stack.enter_context(servers.engine("native", folder / "off", models))
            recording = ("--records", folder / "records")
            recorded = stack.enter_context(servers.engine("native", folder / "recorded", models, *recording))
        calls = model.calls(rows_per_call=1, count=DIFFERENT_CALLS)

        def load(server: Server, connections: int, in_flight: int) -> tuple[float, float]:
            """Calls per second, and the median of the latencies in microseconds."""
            closed = ClosedLoop(connections * in_flight)
            results = native_load.run(
                Target(server.address),
                model,
                calls,
                closed,
                connections=connections,
                seconds=seconds,
                core=generator_core,
            )
            return results.calls_per_second, results.latency_us[50]

        good = True
        memory = resident_bytes(recorded)
        click.echo("| connections | in flight on each | calls/s, off | recorded | ratio | rounds |")
        click.echo("|---|---|---|---|---|---|")
        for connections, in_flight in RATES:
            load(off, connections, in_flight), load(recorded, connections, in_flight)
            pairs = []
            for number in range(rounds):
                order = (off, recorded) if number % 2 else (recorded, off)
                measured = {server.pid: load(server, connections, in_flight)[0] for server in order}
                pairs.append((measured[off.pid], measured[recorded.pid]))
            ratios = [there / here for here, there in pairs]
            ratio = statistics.median(ratios)
            good &= in_flight != 64 or ratio >= LEAST_RATIO
            rates = " | ".join(f"{statistics.median(each):,.0f}" for each in zip(*pairs, strict=True))
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            click.echo(f"| {connections} | {in_flight} | {rates} | {ratio:.3f} | {spread} |")
        differences = []
        for number in range(rounds):
            order = (off, recorded) if number % 2 else (recorded, off)
            medians = {server.pid: load(server, 1, 1)[1] for server in order}
            differences.append(medians[recorded.pid] - medians[off.pid])
        added = statistics.median(differences)
        good &= added <= MOST_ADDED_US
        click.echo(
            f"\nmedian at 1 in flight, recorded minus off: {added:+.2f} µs"
            f" (rounds: {min(differences):+.2f} to {max(differences):+.2f})"
        )
        ledger = _ledger(recorded)
        dropped = {each.cause: each.rows for each in ledger.dropped if each.rows}
        click.echo(
            f"rows: {ledger.offered:,} offered, {ledger.spooled:,} spooled, dropped: {dropped or 'none'}"
        )
        click.echo(f"resident memory: {memory >> 20} MiB before, {resident_bytes(recorded) >> 20} MiB after")
    sys.exit(not (good or quick))


def _ledger(server: Server) -> models_pb2.RecordLedger:
    with grpc.insecure_channel(server.address) as channel:
        ask = channel.unary_unary(
            _STATISTICS,
            request_serializer=models_pb2.GetStatisticsRequest.SerializeToString,
            response_deserializer=models_pb2.GetStatisticsResponse.FromString,
        )
        answer: models_pb2.GetStatisticsResponse = ask(models_pb2.GetStatisticsRequest())
        return answer.records


if __name__ == "__main__":
    main()
