"""`scorewire load`."""

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
  As fast as 16 callers can, one row a call, answers checked:
    scorewire load --bundle models/repurchase/1.0.0

\b
  500 calls a second with chance arrivals, and a verdict for CI:
    scorewire load --bundle models/repurchase/1.0.0 --rate 500/s --poisson \\
        --slo p99=5ms --slo p99.9=20ms --slo error-rate=0.1%

\b
  Rows of your own, 100 a call, over 4 streams:
    scorewire load --input rows.csv --model repurchase \\
        --rows-per-call 100 --mode stream --streams 4 --concurrency 32

\b
  A report to keep:
    scorewire load --bundle models/repurchase/1.0.0 --json run.json --plot run.html

A closed loop (--concurrency) asks how much a server can do: a slow answer delays
the next call. An open loop (--rate) asks how it fares under traffic that does not
wait: latency runs from the time a call was due, so that a stall counts in full.
Calls that time out count in the latency; refused ones count as errors only.

Answers to golden rows are all compared with the scores in the bundle; answers to
rows of a file are checked for their outputs' names and sizes.

\b
Exit code: 0 answers came, none was wrong, and no objective was missed; 1 not
so; 2 the command was used wrongly, or the server could not be asked.
"""


class _Quantity(click.ParamType[Any]):
    """A value that a function reads from text."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of a text; click also hands in what is converted already."""
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
@click.option("--model", default="", help="The model that the rows of --input are for.")
@click.option("--version", default="", help="Its version or alias.  [default: the server's default route]")
@click.option("--mode", type=click.Choice(["unary", "stream"]), default="unary", show_default=True)
@click.option("--rows-per-call", type=_COUNT, default=1, show_default=True)
@click.option("--rate", type=_RATE, help="Open loop: calls per second, like 500/s.")
@click.option("--poisson", is_flag=True, help="Open loop: chance distances instead of equal ones.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --poisson.")
@click.option(
    "--max-outstanding",
    type=_COUNT,
    default=1024,
    show_default=True,
    help="Open loop: calls under way at most; more wait, and are counted.",
)
@click.option(
    "--concurrency", type=_COUNT, help="Closed loop: callers who wait for their answers.  [default: 16]"
)
@click.option(
    "--connections", type=click.IntRange(1, 1000), default=2, show_default=True, help="TCP connections."
)
@click.option(
    "--streams",
    type=click.IntRange(1, 10_000),
    help="Streams of --mode stream.  [default: one a connection]",
)
@click.option("--duration", type=_DURATION, default="10s", show_default=True, help="The part that counts.")
@click.option("--warmup", type=_ANY_DURATION, default="1s", show_default=True, help="Load before it.")
@click.option("--timeout", type=_DURATION, default="5s", show_default=True, help="Deadline of a call.")
@server_options
@click.option("--slo", "objectives", type=_OBJECTIVE, multiple=True, metavar="METRIC=LIMIT", help=(
    f"Exit with 1 if missed; may be repeated. Metrics: {', '.join(slo.METRICS)}."
))  # fmt: skip
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the report."
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw latency by percentile and over time: .png, .svg or .html.",
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
    """Put load on a scoring server, check its answers and report its latency."""
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
        raise click.UsageError(f"{bundle} is no sound bundle: {error}") from None
    except (ServerError, ValueError, OSError) as error:
        raise _UnableError(str(error)) from None
    told = report.Report(
        settings=plan.describe(), results=results, verdicts=slo.judge(results, list(objectives))
    )
    report.show(told, Console())
    try:
        if json_file is not None:
            json_file.write_text(json.dumps(told.to_json(), indent=1) + "\n", encoding="utf-8")
        if plot_file is not None:
            from scorewire_loadtest.plot import write_plot  # noqa: PLC0415 - matplotlib takes a second

            write_plot(told, plot_file)
    except OSError as error:
        raise _UnableError(f"the report cannot be written: {error}") from None
    sys.exit(0 if told.passed else 1)


def _check(
    *,
    bundle: Path | None,
    input_file: Path | None,
    model: str,
    version: str,
    plot_file: Path | None,
) -> None:
    """Refuse options that contradict each other."""
    if (bundle is None) == (input_file is None):
        raise click.UsageError("give either --bundle or --input: the rows to send come from there")
    if bundle is not None and (model or version):
        raise click.UsageError("--model and --version go with --input; a bundle names its own")
    if input_file is not None and not model:
        raise click.UsageError("--input needs --model")
    if plot_file is not None and plot_file.suffix not in _PLOT_KINDS:
        raise click.UsageError(f"--plot {plot_file} must end in one of {', '.join(_PLOT_KINDS)}")


def _check_folders(files: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be written, while nothing is lost by it."""
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
    """The run could not be made."""

    exit_code = 2
