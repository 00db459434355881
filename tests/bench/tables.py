"""The results of a bench as tables, as JSON and as a plot."""

from __future__ import annotations

import json
import math
import operator
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# The name of a closed loop on one model: connections × calls in flight on each.
_SHAPE = re.compile(r"\d+ × \d+")
# Title, field of `Sample`, and format.
_TABLES = (
    ("Calls per second, medians of the rounds.", "calls_per_second", ",.0f"),
    ("Processor time of the server for a call, in microseconds.", "processor_us", ".2f"),
    ("Median latency in microseconds.", "p50_us", ",.0f"),
    ("99th percentile of the latency in microseconds.", "p99_us", ",.0f"),
    (
        "Share of its core that the generator used. Near 100 % with more than one call in flight, the"
        " generator was the limit, and the server could do more.",
        "generator_busy",
        ".0%",
    ),
)
_COLOURS = {"native": "#c2410c", "native, spinning": "#f59e0b", "reference": "#2563eb"}
_OF_OTHERS = "#9aa5b1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The result of one load on one server.

    Attributes:
        server: the name of the server.
        load: the name of the load: connections × calls in flight on each, or another one.
        calls_per_second: answered calls.
        processor_us: processor time of the server for a call, in microseconds; not a number if not known.
        p50_us: the median latency in microseconds.
        p99_us: the 99th percentile.
        generator_busy: the share of its core that the generator used, 0 to 1. Near 1 in a closed loop with
            more than one call in flight, the generator was the limit.
    """

    server: str
    load: str
    calls_per_second: float
    processor_us: float
    p50_us: float
    p99_us: float
    generator_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A ratio, or a size in MB, in each round, with a bound for its median: `at_least` or `at_most`."""

    name: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is within the bound."""
        low, high = self.at_least, self.at_most
        return (low is None or self.median >= low) and (high is None or self.median <= high)

    @property
    def target(self) -> str:
        """The bound, for people."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(slots=True, kw_only=True)
class Findings:
    """The results of a bench; `samples` has the rounds one after another."""

    conditions: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def of(self, server: str, load: str) -> list[Sample]:
        """The samples of one server and load, in the order of rounds."""
        return [s for s in self.samples if (s.server, s.load) == (server, load)]

    def ratios(self, server: str, rival: str, load: str, what: str = "calls_per_second") -> list[float]:
        """The ratio of a field of `Sample` to that of another server in the same round."""
        get: Callable[[Sample], float] = operator.attrgetter(what)
        pairs = zip(self.of(server, load), self.of(rival, load), strict=True)
        return [get(one) / get(other) for one, other in pairs]

    def median(self, server: str, load: str, what: str) -> float:
        """The median of a field of `Sample` over the rounds; not a number if there are no samples."""
        samples = self.of(server, load)
        return statistics.median(getattr(sample, what) for sample in samples) if samples else math.nan

    def servers(self) -> list[str]:
        """The servers, in the order of the first round."""
        return list(dict.fromkeys(sample.server for sample in self.samples))

    def loads(self) -> list[str]:
        """The loads, in the order of the first round."""
        return list(dict.fromkeys(sample.load for sample in self.samples))


def write(findings: Findings, folder: Path) -> None:
    """Write engines.md, engines.json and engines.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engines.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "engines.json").write_text(_to_json(findings), encoding="utf-8")
    _draw(findings).savefig(folder / "engines.png", dpi=120, metadata={"Software": None})


def read(path: Path) -> Findings:
    """Read engines.json."""
    told = json.loads(path.read_text(encoding="utf-8"))
    given = [field.name for field in fields(Bar)]
    return Findings(
        conditions=told["conditions"],
        samples=[
            Sample(**{name: math.nan if value is None else value for name, value in sample.items()})
            for sample in told["samples"]
        ],
        bars=[
            Bar(**{name: bar[name] for name in given} | {"values": _with_nan(bar["values"])})
            for bar in told["bars"]
        ],
    )


def to_markdown(findings: Findings) -> str:
    """The tables, and the machine that they were measured on."""
    lines = ["# Engines, side by side", ""]
    lines += [f"- {name}: {value}" for name, value in findings.conditions.items()]
    lines += ["", *bar_lines(findings.bars)]
    loads = findings.loads()
    for title, what, shown in _TABLES:
        lines += ["", title, "", f"| server | {' | '.join(loads)} |", "|---" * (1 + len(loads)) + "|"]
        for server in findings.servers():
            values = [findings.median(server, load, what) for load in loads]
            cells = ("–" if math.isnan(value) else format(value, shown) for value in values)
            lines.append(f"| {server} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def bar_lines(bars: Iterable[Bar]) -> list[str]:
    """The lines of a table of bars."""
    lines = ["| what | target | median | rounds | |", "|---|---|---|---|---|"]
    for bar in bars:
        spread = f"{min(bar.values):.3g} to {max(bar.values):.3g}" if len(bar.values) > 1 else "once"
        met = "met" if bar.met else "**missed**"
        lines.append(f"| {bar.name} | {bar.target} | {bar.median:.3g} | {spread} | {met} |")
    return lines


def _to_json(findings: Findings) -> str:
    told = {
        "format_version": 3,
        "conditions": findings.conditions,
        "bars": [asdict(bar) | {"median": bar.median, "met": bar.met} for bar in findings.bars],
        "samples": [asdict(sample) for sample in findings.samples],
    }
    return json.dumps(_without_nan(told), indent=1, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    """The value with None for each number that is not known: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _draw(findings: Findings) -> Figure:
    """Plot calls per second of every server, with a panel for each closed loop on one model."""
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}
    with mpl.rc_context(style):
        loads = [load for load in findings.loads() if _SHAPE.fullmatch(load)]
        shown = [[server for server in findings.servers() if findings.of(server, load)] for load in loads]
        rows = [len(servers) for servers in shown]
        figure = Figure(figsize=(10, 1.2 + 0.45 * (sum(rows) + len(rows))), layout="constrained")
        panels = figure.subplots(len(loads), 1, squeeze=False, sharex=True, height_ratios=rows)[:, 0]
        for panel, load, servers in zip(panels, loads, shown, strict=True):
            for place, server in enumerate(servers):
                rates = [sample.calls_per_second for sample in findings.of(server, load)]
                middle = statistics.median(rates)
                panel.barh(place, middle, height=0.62, color=_COLOURS.get(server, _OF_OTHERS))
                # A stroke for each round shows the spread.
                panel.plot(rates, [place] * len(rates), "|", color="#1f2933", markersize=9)
                panel.text(max(rates), place, f"  {middle:,.0f}", va="center", color="#1f2933")
            panel.set_yticks(range(len(servers)), servers)
            panel.invert_yaxis()
            panel.tick_params(left=False)
            panel.set_title(f"{load} in flight", loc="left", fontweight="bold", fontsize=10)
            panel.grid(axis="x", color="#e4e7eb")
            panel.set_axisbelow(True)
        panels[-1].set_xlabel("calls per second, connections × calls in flight; strokes are the rounds")
        panels[-1].set_xlim(0, max(sample.calls_per_second for sample in findings.samples) * 1.15)
        figure.suptitle(
            "One row of 30 numbers through 100 trees of depth 6; the grey servers run no model",
            x=0.01, ha="left", fontweight="bold",
        )  # fmt: skip
        return figure
