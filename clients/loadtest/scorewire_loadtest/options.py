"""The options of `scorewire load`, gathered in groups: rows, load and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from scorewire_contract.bundle import Bundle, BundleError, read_bundle
from scorewire_loadtest import quantities, slo
from scorewire_loadtest.pacing import Constant, Poisson
from scorewire_loadtest.plan import ClosedLoop, InputFile, OpenLoop
from scorewire_loadtest.run import GENERATORS

_PLOT_SUFFIXES = (".png", ".svg", ".html")
_DEFAULT_CONCURRENCY = 16


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
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """The rows to send: golden rows of `bundle`, or rows of `input_file` for `model` and `version`."""

    bundle: Path | None
    input_file: Path | None
    model: str
    version: str

    def check(self) -> None:
        """Check that the options do not contradict each other.

        Raises:
            UsageError: they do.
        """
        if (self.bundle is None) == (self.input_file is None):
            raise click.UsageError("give either --bundle or --input: the rows to send come from there")
        if self.bundle is not None and (self.model or self.version):
            raise click.UsageError("--model and --version go with --input; a bundle names its own")
        if self.input_file is not None and not self.model:
            raise click.UsageError("--input needs --model")

    def source(self) -> Bundle | InputFile:
        """Read the bundle, or name the file.

        Raises:
            UsageError: the folder is not a valid bundle, or there is neither a bundle nor a file.
        """
        if self.bundle is not None:
            try:
                return read_bundle(self.bundle)
            except BundleError as error:
                raise click.UsageError(f"{self.bundle} is not a valid bundle: {error}") from None
        if self.input_file is None:
            raise click.UsageError("there are no rows to send")
        return InputFile(self.input_file, self.model, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to send the rows. Durations are in seconds, the rate in calls per second."""

    mode: str
    rows_per_call: int
    rate: float | None
    poisson: bool
    seed: int
    max_outstanding: int
    concurrency: int | None
    connections: int
    streams: int | None
    duration: float
    warmup: float
    timeout: float
    generator: str

    def check(self) -> None:
        """Check that the options do not contradict each other.

        Raises:
            UsageError: they do.
        """
        if self.rate is not None and self.concurrency is not None:
            raise click.UsageError("--rate makes an open loop and --concurrency a closed one: choose")
        if self.poisson and self.rate is None:
            raise click.UsageError("--poisson needs --rate")
        if self.streams is not None and self.mode != "stream":
            raise click.UsageError("--streams needs --mode stream")

    @property
    def loop(self) -> OpenLoop | ClosedLoop:
        """An open loop if there is a rate, else a closed loop."""
        if self.rate is None:
            return ClosedLoop(self.concurrency or _DEFAULT_CONCURRENCY)
        pacing = Poisson(self.rate, self.seed) if self.poisson else Constant(self.rate)
        return OpenLoop(pacing, self.max_outstanding)

    @property
    def stream_count(self) -> int | None:
        """The number of streams; None for unary calls."""
        return (self.streams or self.connections) if self.mode == "stream" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """The objectives to check, and the files to write."""

    objectives: tuple[slo.Objective, ...]
    json_file: Path | None
    plot_file: Path | None

    def check(self) -> None:
        """Check before the run that the files can be written after it.

        Raises:
            UsageError: a file cannot be written, or the plot has an unknown suffix.
        """
        if self.plot_file is not None and self.plot_file.suffix not in _PLOT_SUFFIXES:
            raise click.UsageError(f"--plot {self.plot_file} must end in one of {', '.join(_PLOT_SUFFIXES)}")
        for option, file in {"--json": self.json_file, "--plot": self.plot_file}.items():
            if file is not None and not os.access(file.absolute().parent, os.W_OK):
                raise click.UsageError(
                    f"{option} {file} cannot be written: its folder must be there and be writable"
                )


_Command = Callable[..., None]


def _gathered(
    name: str, kind: type, *options: Callable[[_Command], _Command]
) -> Callable[[_Command], _Command]:
    """A decorator that adds options to a command, which gets their values as one object."""

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(**values: Any) -> None:
            own = {field.name: values.pop(field.name) for field in fields(kind)}
            command(**{name: kind(**own)}, **values)

        decorated: _Command = run
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


row_options = _gathered(
    "rows",
    RowOptions,
    click.option(
        "--bundle",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Send the golden rows of this bundle, and check every score.",
    ),
    click.option("--input", "input_file", type=_FILE, help="Send the rows of this .csv or .parquet file."),
    click.option("--model", default="", help="Name of the model for the rows of --input."),
    click.option("--version", default="", help="Version or alias.  [default: the model's default version]"),
)
load_options = _gathered(
    "load",
    LoadOptions,
    click.option("--mode", type=click.Choice(["unary", "stream"]), default="unary", show_default=True),
    click.option("--rows-per-call", type=_COUNT, default=1, show_default=True),
    click.option("--rate", type=_RATE, help="Open loop: calls per second, such as 500/s."),
    click.option(
        "--poisson", is_flag=True, help="Open loop: random (Poisson) arrivals instead of a constant rate."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Random seed of --poisson."),
    click.option(
        "--max-outstanding",
        type=_COUNT,
        default=1024,
        show_default=True,
        help="Open loop: the most calls in flight; further calls wait, and are counted.",
    ),
    click.option(
        "--concurrency",
        type=_COUNT,
        help=f"Closed loop: callers that wait for responses.  [default: {_DEFAULT_CONCURRENCY}]",
    ),
    click.option(
        "--connections", type=click.IntRange(1, 1000), default=2, show_default=True, help="TCP connections."
    ),
    click.option(
        "--streams",
        type=click.IntRange(1, 10_000),
        help="Streams of --mode stream.  [default: one per connection]",
    ),
    click.option(
        "--duration", type=_DURATION, default="10s", show_default=True, help="Length of the measured part."
    ),
    click.option(
        "--warmup", type=_ANY_DURATION, default="1s", show_default=True, help="Load before that; not counted."
    ),
    click.option("--timeout", type=_DURATION, default="5s", show_default=True, help="Timeout of a call."),
    click.option(
        "--generator",
        type=click.Choice(GENERATORS),
        default="auto",
        show_default=True,
        help="What makes the calls: Rust (native), or Python. auto is native where it is installed.",
    ),
)
output_options = _gathered(
    "output",
    OutputOptions,
    click.option(
        "--slo",
        "objectives",
        type=_OBJECTIVE,
        multiple=True,
        metavar="METRIC=LIMIT",
        help=f"Objective; exit with 1 if missed. May be repeated. Metrics: {', '.join(slo.METRICS)}.",
    ),
    click.option("--json", "json_file", type=_NEW_FILE, help="File for the report."),
    click.option(
        "--plot",
        "plot_file",
        type=_NEW_FILE,
        help="File for a plot of latency by percentile and over time: .png, .svg or .html.",
    ),
)
