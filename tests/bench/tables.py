"""The results of a bench as tables, as JSON and as a plot."""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_COLOURS = {"native": "#c2410c", "reference": "#2563eb"}
_OF_OTHERS = "#9aa5b1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The result of one load on one server; the latency is as in `h2load.Load`."""

    server: str
    in_flight: int
    calls_per_second: float
    latency_us: float


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

    def of(self, server: str, in_flight: int) -> list[Sample]:
        """The samples of one server, in the order of rounds."""
        return [s for s in self.samples if (s.server, s.in_flight) == (server, in_flight)]

    def ratios(self, server: str, rival: str, in_flight: int, what: str = "calls_per_second") -> list[float]:
        """The ratio of a field of `Sample` to that of another server in the same round."""
        get: Callable[[Sample], float] = operator.attrgetter(what)
        pairs = zip(self.of(server, in_flight), self.of(rival, in_flight), strict=True)
        return [get(one) / get(other) for one, other in pairs]

    def median(self, server: str, in_flight: int, what: str) -> float:
        """The median of a field of `Sample` over the rounds."""
        return statistics.median(getattr(sample, what) for sample in self.of(server, in_flight))

    def servers(self) -> list[str]:
        """The servers, in the order of the first round."""
        return list(dict.fromkeys(sample.server for sample in self.samples))

    def depths(self) -> list[int]:
        """The numbers of calls in flight, ascending."""
        return sorted({sample.in_flight for sample in self.samples})


def write(findings: Findings, folder: Path) -> None:
    """Write engines.md, engines.json and engines.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engines.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "engines.json").write_text(json.dumps(_to_json(findings), indent=1) + "\n", encoding="utf-8")
    _draw(findings).savefig(folder / "engines.png", dpi=120, metadata={"Software": None})


def to_markdown(findings: Findings) -> str:
    """The tables, and the machine that they were measured on."""
    lines = ["# Engines, side by side", ""]
    lines += [f"- {name}: {value}" for name, value in findings.conditions.items()]
    lines += ["", "| what | target | median | rounds | |", "|---|---|---|---|---|"]
    for bar in findings.bars:
        spread = f"{min(bar.values):.3g} to {max(bar.values):.3g}" if len(bar.values) > 1 else "once"
        met = "met" if bar.met else "**missed**"
        lines.append(f"| {bar.name} | {bar.target} | {bar.median:.3g} | {spread} | {met} |")
    depths = findings.depths()
    for title, what in (
        ("Calls per second, medians of the rounds.", "calls_per_second"),
        (
            "Latency in microseconds: the median of calls one by one, the mean of others.",
            "latency_us",
        ),
    ):
        lines += ["", title, "", f"| server | {' | '.join(f'{depth} in flight' for depth in depths)} |"]
        lines.append("|---" * (1 + len(depths)) + "|")
        for server in findings.servers():
            cells = (f"{findings.median(server, depth, what):,.0f}" for depth in depths)
            lines.append(f"| {server} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _to_json(findings: Findings) -> dict[str, Any]:
    return {
        "format_version": 2,
        "conditions": findings.conditions,
        "bars": [asdict(bar) | {"median": bar.median, "met": bar.met} for bar in findings.bars],
        "samples": [asdict(sample) for sample in findings.samples],
    }


def _draw(findings: Findings) -> Figure:
    """Plot calls per second of every server, with a panel for each number of calls in flight."""
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}
    with mpl.rc_context(style):
        depths, servers = findings.depths(), findings.servers()
        figure = Figure(figsize=(10, 1.2 + 0.45 * len(servers) * len(depths)), layout="constrained")
        panels = figure.subplots(len(depths), 1, squeeze=False, sharex=True)[:, 0]
        for panel, depth in zip(panels, depths, strict=True):
            for place, server in enumerate(servers):
                rates = [sample.calls_per_second for sample in findings.of(server, depth)]
                middle = statistics.median(rates)
                panel.barh(place, middle, height=0.62, color=_COLOURS.get(server, _OF_OTHERS))
                # A stroke for each round shows the spread.
                panel.plot(rates, [place] * len(rates), "|", color="#1f2933", markersize=9)
                panel.text(max(rates), place, f"  {middle:,.0f}", va="center", color="#1f2933")
            panel.set_yticks(range(len(servers)), servers)
            panel.invert_yaxis()
            panel.tick_params(left=False)
            panel.set_title(f"{depth} in flight", loc="left", fontweight="bold", fontsize=10)
            panel.grid(axis="x", color="#e4e7eb")
            panel.set_axisbelow(True)
        panels[-1].set_xlabel("calls per second over one connection, medians; strokes are the rounds")
        panels[-1].set_xlim(0, max(sample.calls_per_second for sample in findings.samples) * 1.15)
        figure.suptitle(
            "One row of 30 numbers through 100 trees of depth 6; the grey servers run no model",
            x=0.01, ha="left", fontweight="bold",
        )  # fmt: skip
        return figure
