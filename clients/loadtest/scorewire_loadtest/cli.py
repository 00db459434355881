"""`scorewire load`: put load on a server and report its latency."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console

from scorewire import TLS, Explain, Token
from scorewire.options import explain_options, server_options
from scorewire_loadtest import report, slo
from scorewire_loadtest.environment import Environment
from scorewire_loadtest.options import (
    LoadOptions,
    OutputOptions,
    RowOptions,
    load_options,
    output_options,
    row_options,
)
from scorewire_loadtest.plan import Plan
from scorewire_loadtest.report import Report
from scorewire_loadtest.run import GeneratorError, execute
from scorewire_loadtest.target import Target
from scorewire_loadtest.transport import ServerError

_EPILOG = """
\b
Examples:
  As fast as 16 callers can, one row per call, with every score checked:
    scorewire load --bundle models/repurchase/1.0.0

\b
  500 calls per second with random arrivals, and objectives for CI:
    scorewire load --bundle models/repurchase/1.0.0 --rate 500/s --poisson \\
        --slo p99=5ms --slo p99.9=20ms --slo error-rate=0.1%

\b
  Your own rows, 100 per call, over 4 streams:
    scorewire load --input rows.csv --model repurchase \\
        --rows-per-call 100 --mode stream --streams 4 --concurrency 32

\b
  A report to store:
    scorewire load --bundle models/repurchase/1.0.0 --json run.json --plot run.html

\b
  Calls that ask why, for the 5 strongest columns of each row:
    scorewire load --bundle models/repurchase/1.0.0 --explain 5

A closed loop (--concurrency) measures how much a server can do: each caller waits
for a response before its next call. An open loop (--rate) measures how a server
copes with traffic that does not wait: latency counts from the time at which a call
was due, so that a stall counts in full. Calls that time out count in the latency;
calls that the server refuses count as errors only.

The scores of golden rows are compared with those in the bundle. For rows of a
file, only the names and sizes of the outputs are checked.

If the generator itself was the limit, the report begins with SATURATED and the
reason, and no objective counts as met. Give it a core of its own:
    taskset --cpu-list 1 scorewire load --bundle models/repurchase/1.0.0

Ctrl-C ends a run early and reports what came back; a second one aborts the run.

\b
Exit code: 0 if calls were answered, no answer was wrong and every objective was
met; 1 otherwise; 2 if the command was used wrongly or the server did not answer;
3 if there are objectives and the generator was saturated, so that they cannot be
judged.
"""
# The exit code where there are objectives and a saturated generator.
_CANNOT_JUDGE = 3


@click.command(name="load", epilog=_EPILOG)
@row_options
@load_options
@explain_options(
    help="Ask for contributions, too: those of all columns, whose sum is checked, or of the K strongest."
)
@server_options
@output_options
def load(
    *,
    rows: RowOptions,
    load: LoadOptions,
    explain: Explain | None,
    address: str,
    tls: TLS | None,
    token: Token | None,
    output: OutputOptions,
) -> None:
    """Put load on a server, check its answers and report its latency."""
    rows.check()
    output.check()
    load.check()
    try:
        plan = Plan(
            target=Target(address, tls, token),
            source=rows.source(),
            load=load.loop,
            rows_per_call=load.rows_per_call,
            connections=load.connections,
            streams=load.stream_count,
            warmup_s=load.warmup,
            duration_s=load.duration,
            timeout_s=load.timeout,
            explain=explain,
        )
        measured = execute(plan, Console(stderr=True), generator=load.generator)
    except (GeneratorError, ServerError, ValueError, OSError) as error:
        raise _UnableError(str(error)) from None
    run_report = Report(
        settings=plan.describe(),
        environment=Environment.of(measured.begun_at, measured.server),
        results=measured.results,
        verdicts=slo.judge(measured.results, list(output.objectives)),
    )
    report.show(run_report, Console())
    try:
        _write(run_report, output)
    except OSError as error:
        raise _UnableError(f"the report cannot be written: {error}") from None
    sys.exit(_exit_code(run_report))


def _exit_code(run_report: Report) -> int:
    if run_report.passed:
        return 0
    return _CANNOT_JUDGE if run_report.answers_were_right and run_report.saturation else 1


def _write(run_report: Report, output: OutputOptions) -> None:
    if output.json_file is not None:
        output.json_file.write_text(json.dumps(run_report.to_json(), indent=1) + "\n", encoding="utf-8")
    if output.plot_file is not None:
        from scorewire_loadtest.plot import write_plot  # noqa: PLC0415 - matplotlib takes a second

        write_plot(run_report, output.plot_file)


class _UnableError(click.ClickException):
    """The run could not be carried out."""

    exit_code = 2
