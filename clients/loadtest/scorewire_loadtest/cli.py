"""`scorewire load`: put load on a server and report its latency."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from scorewire import TLS
from scorewire.options import server_options
from scorewire_contract.bundle import BundleError, read_bundle
from scorewire_loadtest import quantities, report, slo
from scorewire_loadtest.attack import ClosedLoop, OpenLoop
from scorewire_loadtest.pacing import Constant, Poisson
from scorewire_loadtest.run import InputFile, Plan, execute
from scorewire_loadtest.transport import ServerError, Target

_T = TypeVar("_T")
_PLOT_KINDS = (".png", ".svg", ".html")

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

A closed loop (--concurrency) measures how much a server can do: each caller waits
for a response before its next call. An open loop (--rate) measures how a server
copes with traffic that does not wait: latency counts from the time at which a call
was due, so that a stall counts in full. Calls that time out count in the latency;
calls that the server refuses count as errors only.

The scores of golden rows are compared with those in the bundle. For rows of a
file, only the names and sizes of the outputs are checked.

\b
Exit code: 0 if calls were answered, no answer was wrong and every objective was
met; 1 otherwise; 2 if the command was used wrongly or the server did not answer.
"""


class _Quantity(click.ParamType[Any]):
    """A parameter type whose text a function parses."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; click also passes values that are already converted."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _positive_duration(text: str) -> float:
    seconds = quantities.parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} must be above zero")
    return seconds


_DURATION = _Quantity("duration", _positive_duration)
_ANY_DURATION = _Quantity("duration", quantities.parse_duration)
_RATE = _Quantity("rate", quantities.parse_rate)
_OBJECTIVE = _Quantity("objective", slo.parse_objective)
_COUNT = click.IntRange(min=1)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=_EPILOG)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Send the golden rows of this bundle, and check every score.",
)
@click.option("--input", "input_file", type=_FILE, help="Send the rows of this .csv or .parquet file.")
@click.option("--model", default="", help="Name of the model for the rows of --input.")
@click.option("--version", default="", help="Version or alias.  [default: the model's default version]")
@click.option("--mode", type=click.Choice(["unary", "stream"]), default="unary", show_default=True)
@click.option("--rows-per-call", type=_COUNT, default=1, show_default=True)
@click.option("--rate", type=_RATE, help="Open loop: calls per second, such as 500/s.")
@click.option(
    "--poisson", is_flag=True, help="Open loop: random (Poisson) arrivals instead of a constant rate."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of --poisson.")
@click.option(
    "--max-outstanding",
    type=_COUNT,
    default=1024,
    show_default=True,
    help="Open loop: the most calls in flight; further calls wait, and are counted.",
)
@click.option(
    "--concurrency", type=_COUNT, help="Closed loop: callers that wait for responses.  [default: 16]"
)
@click.option(
    "--connections", type=click.IntRange(1, 1000), default=2, show_default=True, help="TCP connections."
)
@click.option(
    "--streams",
    type=click.IntRange(1, 10_000),
    help="Streams of --mode stream.  [default: one per connection]",
)
@click.option(
    "--duration", type=_DURATION, default="10s", show_default=True, help="Length of the measured part."
)
@click.option(
    "--warmup", type=_ANY_DURATION, default="1s", show_default=True, help="Load before that; not counted."
)
@click.option("--timeout", type=_DURATION, default="5s", show_default=True, help="Timeout of a call.")
@server_options
@click.option("--slo", "objectives", type=_OBJECTIVE, multiple=True, metavar="METRIC=LIMIT", help=(
    f"Objective; exit with 1 if missed. May be repeated. Metrics: {', '.join(slo.METRICS)}."
))  # fmt: skip
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="File for the report."
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for a plot of latency by percentile and over time: .png, .svg or .html.",
)
def load(
    *,
    address: str,
    bundle: Path | None,
    input_file: Path | None,
    model: str,
    version: str,
    mode: str,
    rows_per_call: int,
    rate: float | None,
    poisson: bool,
    seed: int,
    max_outstanding: int,
    concurrency: int | None,
    connections: int,
    streams: int | None,
    duration: float,
    warmup: float,
    timeout: float,
    tls: TLS | None,
    objectives: tuple[slo.Objective, ...],
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Put load on a server, check its answers and report its latency."""
    _check(bundle=bundle, input_file=input_file, model=model, version=version, plot_file=plot_file)
    _check_folders({"--json": json_file, "--plot": plot_file})
    if rate is not None and concurrency is not None:
        raise click.UsageError("--rate makes an open loop and --concurrency a closed one: choose")
    if poisson and rate is None:
        raise click.UsageError("--poisson needs --rate")
    if streams is not None and mode != "stream":
        raise click.UsageError("--streams needs --mode stream")
    if rate is None:
        load_kind: OpenLoop | ClosedLoop = ClosedLoop(concurrency or 16)
    else:
        pacing = Poisson(rate, seed) if poisson else Constant(rate)
        load_kind = OpenLoop(pacing, max_outstanding)
    try:
        source = read_bundle(bundle) if bundle is not None else InputFile(_given(input_file), model, version)
        plan = Plan(
            target=Target(address, tls),
            source=source,
            load=load_kind,
            rows_per_call=rows_per_call,
            connections=connections,
            streams=(streams or connections) if mode == "stream" else None,
            warmup_s=warmup,
            duration_s=duration,
            timeout_s=timeout,
        )
        results = execute(plan, Console(stderr=True))
    except BundleError as error:
        raise click.UsageError(f"{bundle} is not a valid bundle: {error}") from None
    except (ServerError, ValueError, OSError) as error:
        raise _UnableError(str(error)) from None
    run_report = report.Report(
        settings=plan.describe(), results=results, verdicts=slo.judge(results, list(objectives))
    )
    report.show(run_report, Console())
    try:
        if json_file is not None:
            json_file.write_text(json.dumps(run_report.to_json(), indent=1) + "\n", encoding="utf-8")
        if plot_file is not None:
            from scorewire_loadtest.plot import write_plot  # noqa: PLC0415 - matplotlib takes a second

            write_plot(run_report, plot_file)
    except OSError as error:
        raise _UnableError(f"the report cannot be written: {error}") from None
    sys.exit(0 if run_report.passed else 1)


def _check(
    *,
    bundle: Path | None,
    input_file: Path | None,
    model: str,
    version: str,
    plot_file: Path | None,
) -> None:
    """Check that options do not contradict each other."""
    if (bundle is None) == (input_file is None):
        raise click.UsageError("give either --bundle or --input: the rows to send come from there")
    if bundle is not None and (model or version):
        raise click.UsageError("--model and --version go with --input; a bundle names its own")
    if input_file is not None and not model:
        raise click.UsageError("--input needs --model")
    if plot_file is not None and plot_file.suffix not in _PLOT_KINDS:
        raise click.UsageError(f"--plot {plot_file} must end in one of {', '.join(_PLOT_KINDS)}")


def _check_folders(files: Mapping[str, Path | None]) -> None:
    """Check before the run that files can be written after it."""
    for option, file in files.items():
        if file is not None and not os.access(file.absolute().parent, os.W_OK):
            raise click.UsageError(
                f"{option} {file} cannot be written: its folder must be there and be writable"
            )


def _given(value: _T | None) -> _T:
    if value is None:
        raise TypeError("an option that was checked is missing")
    return value


class _UnableError(click.ClickException):
    """The run could not be carried out."""

    exit_code = 2
