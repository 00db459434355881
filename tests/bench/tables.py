"""What a bench found, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scorewire_loadtest.report import BUSY_LIMIT
from tests.bench.measure import Parts

_COLOURS = {"floor": "#9aa5b1", "reference": "#2563eb", "native": "#c2410c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One load on one server. `busy` is the generator's, 0 to 1; latencies are in microseconds."""

    server: str
    mode: str
    in_flight: int
    calls_per_second: float
    p50_us: float
    p99_us: float
    busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of a bench. `samples` has the rounds one after another; `parts` is by rows per call."""

    conditions: dict[str, str]
    samples: list[Sample]
    parts: dict[int, Parts]

    def of(self, server: str, mode: str, in_flight: int) -> list[Sample]:
        """The rounds of one server, in order."""
        return [s for s in self.samples if (s.server, s.mode, s.in_flight) == (server, mode, in_flight)]

    def ratio(self, server: str, mode: str, in_flight: int) -> float:
        """Median of calls per second over those of the floor in the same round and mode."""
        pairs = zip(self.of(server, mode, in_flight), self.of("floor", mode, in_flight), strict=True)
        return statistics.median(one.calls_per_second / floor.calls_per_second for one, floor in pairs)

    def median(self, server: str, mode: str, in_flight: int, what: str) -> float:
        """Median over the rounds of a field of `Sample`."""
        return statistics.median(getattr(sample, what) for sample in self.of(server, mode, in_flight))

    def variants(self) -> list[tuple[str, str]]:
        """Server and mode, in the order of the first round."""
        return list(dict.fromkeys((sample.server, sample.mode) for sample in self.samples))

    def depths(self) -> list[int]:
        """Calls in flight, ascending."""
        return sorted({sample.in_flight for sample in self.samples})


def write(findings: Findings, folder: Path) -> None:
    """Write engines.md, engines.json and engines.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engines.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "engines.json").write_text(json.dumps(_to_json(findings), indent=1) + "\n", encoding="utf-8")
    _draw(findings).savefig(folder / "engines.png", dpi=120, metadata={"Software": None})


def to_markdown(findings: Findings) -> str:
    """The table, with what it was measured on."""
    lines = ["# Engines, side by side", ""]
    lines += [f"- {name}: {value}" for name, value in findings.conditions.items()]
    depths = findings.depths()
    lines += [
        "",
        "Calls per second, medians; in brackets the share of the floor in the same round and mode.",
        "",
    ]
    lines.append(f"| server | mode | {' | '.join(f'{depth} in flight' for depth in depths)} |")
    lines.append("|---" * (2 + len(depths)) + "|")
    for server, mode in findings.variants():
        cells = []
        for depth in depths:
            rate = f"{findings.median(server, mode, depth, 'calls_per_second'):,.0f}"
            cells.append(rate if server == "floor" else f"{rate} ({findings.ratio(server, mode, depth):.2f})")
        lines.append(f"| {server} | {mode} | {' | '.join(cells)} |")
    lines += ["", "Latency p50 / p99 in microseconds, and how busy the generator was.", ""]
    lines.append(f"| server | mode | {' | '.join(f'{depth} in flight' for depth in depths)} |")
    lines.append("|---" * (2 + len(depths)) + "|")
    for server, mode in findings.variants():
        cells = [
            f"{findings.median(server, mode, depth, 'p50_us'):,.0f}"
            f" / {findings.median(server, mode, depth, 'p99_us'):,.0f},"
            f" {findings.median(server, mode, depth, 'busy'):.0%}"
            for depth in depths
        ]
        lines.append(f"| {server} | {mode} | {' | '.join(cells)} |")
    if any(sample.busy > BUSY_LIMIT for sample in findings.samples):
        lines += ["", f"Where the generator was more than {BUSY_LIMIT:.0%} busy, the server may do more."]
    lines += [
        "",
        "Where the time of one call to the reference engine goes, one in flight, medians in microseconds.",
        "",
    ]
    lines.append(
        "| rows | onnxruntime alone (processor time) | model, in the server | whole server | whole call |"
    )
    lines.append("|---" * 5 + "|")
    for rows, parts in findings.parts.items():
        values = (parts.bare_us, parts.model_us, parts.server_us, parts.call_us)
        lines.append(f"| {rows:,} | {' | '.join(f'{value:,.0f}' for value in values)} |")
    return "\n".join(lines) + "\n"


def _to_json(findings: Findings) -> dict[str, Any]:
    return {
        "format_version": 1,
        "conditions": findings.conditions,
        "samples": [asdict(sample) for sample in findings.samples],
        "parts": {str(rows): asdict(parts) for rows, parts in findings.parts.items()},
    }


def _draw(findings: Findings) -> Figure:
    """Calls per second of every server, one panel for each number in flight."""
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}
    with mpl.rc_context(style):
        depths, variants = findings.depths(), findings.variants()
        figure = Figure(figsize=(10, 1.2 + 0.42 * len(variants) * len(depths)), layout="constrained")
        panels = figure.subplots(len(depths), 1, squeeze=False, sharex=True)[:, 0]
        for panel, depth in zip(panels, depths, strict=True):
            for place, (server, mode) in enumerate(variants):
                rates = [sample.calls_per_second for sample in findings.of(server, mode, depth)]
                middle = statistics.median(rates)
                panel.barh(place, middle, height=0.62, color=_COLOURS[server])
                # Every round as a dot: the spread is part of the finding.
                panel.plot(rates, [place] * len(rates), "|", color="#1f2933", markersize=9)
                share = (
                    "" if server == "floor" else f"  ({findings.ratio(server, mode, depth):.2f} of the floor)"
                )
                panel.text(max(rates), place, f"  {middle:,.0f}{share}", va="center", color="#1f2933")
            panel.set_yticks(range(len(variants)), [f"{server}, {mode}" for server, mode in variants])
            panel.invert_yaxis()
            panel.tick_params(left=False)
            panel.set_title(f"{depth} in flight", loc="left", fontweight="bold", fontsize=10)
            panel.grid(axis="x", color="#e4e7eb")
            panel.set_axisbelow(True)
        panels[-1].set_xlabel("calls per second, medians; strokes are the rounds")
        top = max(sample.calls_per_second for sample in findings.samples)
        panels[-1].set_xlim(0, top * 1.3)
        figure.suptitle("One row of 30 numbers, 100 trees of depth 6", x=0.01, ha="left", fontweight="bold")
        return figure
