"""The results of the kernel's bench as tables, a picture and JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.tables import Bar, bar_lines

CALL_ROWS = (1, 8, 64, 1_000)
_GRAPHS = {
    "": "",
    "trees": ", trees only",
    "bundle": ", the bundle's graph",
    "empty": ", a graph that does nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Nanoseconds of processor time a row, in each round.

    Attributes:
        model: the name of the model.
        runs_on: "kernel", "onnxruntime", or a library.
        rows: rows in a call.
        ns_per_row: one for each round.
        graph: "trees", "bundle" or "empty": the graph that runs; "" if none does.
        form: the form of the kernel that is forced, or "chosen"; "" if a whole graph runs.
        processor: the kind of processor whose instructions the form may use.
        load_seconds: processor time to make what is measured.
        bytes: memory of the form.
    """

    model: str
    runs_on: str
    rows: int
    ns_per_row: list[float]
    graph: str = ""
    form: str = ""
    processor: str = ""
    load_seconds: float | None = None
    bytes: int | None = None

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.ns_per_row)

    @property
    def name(self) -> str:
        """What is measured, for people."""
        if self.form:
            return f"kernel's trees, {self.form}, {self.processor}"
        return self.runs_on + _GRAPHS[self.graph]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a bundle of a model costs: the forms that were chosen, their bytes, and the time to load."""

    model: str
    processor: str
    forms: str
    graph_bytes: int
    trees_bytes: int
    resident_bytes: int
    peak_bytes: int
    load_seconds: float
    load_clock_seconds: float


@dataclass(slots=True, kw_only=True)
class KernelFindings:
    """The results of the bench. `left_out` says why a library is missing, by model."""

    conditions: dict[str, str]
    timings: list[Timing] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)

    def times(self, model: str, rows: int, runs_on: str, **wanted: str) -> list[float]:
        """The rounds of what has these values of attributes of `Timing`; empty if it was not measured."""
        for timing in self.timings:
            same = (timing.model, timing.rows, timing.runs_on) == (model, rows, runs_on)
            if same and all(getattr(timing, name) == value for name, value in wanted.items()):
                return timing.ns_per_row
        return []


def write(findings: KernelFindings, folder: Path) -> KernelFindings:
    """Write kernels.json, kernels.md and kernels.png; returns what kernels.json has."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kernels.json"
    path.write_text(_to_json(findings), encoding="utf-8")
    # The file's numbers are rounded, and all tables show the same.
    written = read(path)
    (folder / "kernels.md").write_text(to_markdown(written), encoding="utf-8")
    _draw(written).savefig(folder / "kernels.png", dpi=120, metadata={"Software": None})
    return written


def read(path: Path) -> KernelFindings:
    """Read kernels.json."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return KernelFindings(
        conditions=told["conditions"],
        timings=[Timing(**timing) for timing in told["timings"]],
        loads=[Load(**load) for load in told["loads"]],
        bars=[Bar(**bar) for bar in told["bars"]],
        left_out=told["left_out"],
    )


def to_markdown(findings: KernelFindings) -> str:
    """All tables: what is in the overview, and a table of times for each model, with every form."""
    lines = ["# The kernel beside onnxruntime and the libraries", "", *_begin(findings)]
    for load in findings.loads:
        lines += ["", *_model_lines(findings, load.model)]
    return "\n".join(lines) + "\n"


def overview(findings: KernelFindings) -> str:
    """The conditions, the bars, the cost of a load, and the times of whole graphs and of libraries."""
    columns = [rows_text(rows) for rows in CALL_ROWS]
    lines = [
        *_begin(findings),
        "",
        "Nanoseconds a row, by rows in a call; medians of the rounds.",
        "",
        f"| model | runs on | {' | '.join(columns)} |",
        "|---|---" + "|---" * len(columns) + "|",
    ]
    for model in _models(findings):
        whole = [one for one in findings.timings if one.model == model and _is_whole(one)]
        for runs_on in dict.fromkeys(timing.runs_on for timing in whole):
            medians = {timing.rows: _short(timing.median) for timing in whole if timing.runs_on == runs_on}
            cells = [medians.get(rows, "–") for rows in CALL_ROWS]
            lines.append(f"| {model} | {runs_on} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _is_whole(timing: Timing) -> bool:
    """Whether a bundle's graph or a library runs, and not only trees or nothing."""
    return not timing.form and timing.graph in ("", "bundle")


def _models(findings: KernelFindings) -> list[str]:
    return list(dict.fromkeys(timing.model for timing in findings.timings))


def _begin(findings: KernelFindings) -> list[str]:
    lines = [f"- {name}: {value}" for name, value in findings.conditions.items()]
    lines += ["", *bar_lines(findings.bars)]
    lines += [
        "",
        "What a bundle costs a server; *resident* is by how much its loading made the process grow.",
        "",
        "| model | graph, MB | kernel's trees, MB | resident, MB | peak, MB | load, ms of CPU | forms |",
        "|---|---|---|---|---|---|---|",
    ]
    for load in findings.loads:
        sizes = (load.graph_bytes, load.trees_bytes, load.resident_bytes, load.peak_bytes)
        cells = [f"{size / 1e6:.1f}" for size in sizes]
        forms = load.forms.partition(";")[0]
        lines.append(f"| {load.model} | {' | '.join(cells)} | {load.load_seconds * 1e3:,.0f} | {forms} |")
    return lines


def _model_lines(findings: KernelFindings, model: str) -> list[str]:
    timings = [timing for timing in findings.timings if timing.model == model]
    columns = [rows_text(rows) for rows in CALL_ROWS]
    lines = [
        f"{model}: nanoseconds a row, by rows in a call; medians, and the spread of the rounds.",
        "",
        f"| | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for name in dict.fromkeys(timing.name for timing in timings):
        of_name = {timing.rows: timing for timing in timings if timing.name == name}
        lines.append(f"| {name} | {' | '.join(_cell(of_name.get(rows)) for rows in CALL_ROWS)} |")
    for name, why in findings.left_out.get(model, {}).items():
        lines.append(f"| {name} | {' | '.join(['–'] * (len(columns) - 1))} | {why.replace('|', '/')} |")
    return lines


def rows_text(count: int) -> str:
    """A number of rows, for people."""
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _cell(timing: Timing | None) -> str:
    if timing is None:
        return "–"
    low, high = min(timing.ns_per_row), max(timing.ns_per_row)
    if low == high:
        return _short(low)
    return f"{_short(timing.median)} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _to_json(findings: KernelFindings) -> str:
    """JSON with a line for each timing, load and bar."""
    parts = []
    for name, value in ({"format_version": 1} | _rounded(asdict(findings))).items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n  " + ",\n  ".join(json.dumps(each) for each in value) + "\n ]"
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(value: Any) -> Any:
    """The value with floats of five digits: more are noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


_COLOURS = {"kernel": "#0b7285", "onnxruntime": "#9aa5b1"}
_OF_LIBRARIES = "#d9a441"


def _draw(findings: KernelFindings) -> Figure:
    """Plot the times of whole graphs and of libraries, with a panel for one row and for many."""
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False}
    models = _models(findings)
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 1.5 + 0.75 * len(models)), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, rows in zip(panels, (CALL_ROWS[0], CALL_ROWS[-1]), strict=True):
            for place, model in enumerate(models):
                own = [one for one in findings.timings if (one.model, one.rows) == (model, rows)]
                whole = sorted((one for one in own if _is_whole(one)), key=lambda one: one.median)
                height = 0.84 / max(len(whole), 1)
                for i, timing in enumerate(whole):
                    y = place - 0.42 + (i + 0.5) * height
                    colour = _COLOURS.get(timing.runs_on, _OF_LIBRARIES)
                    panel.barh(y, timing.median, height=height * 0.9, color=colour)
                    text = f" {timing.runs_on} {_short(timing.median)}"
                    panel.text(timing.median, y, text, va="center", color="#1f2933", fontsize=7)
            panel.set_xscale("log")
            panel.margins(x=0.3)
            panel.set_title(f"{rows_text(rows)} a call", loc="left", fontweight="bold", fontsize=10)
            panel.set_xlabel("nanoseconds a row")
            panel.tick_params(left=False)
        panels[0].set_yticks(range(len(models)), models)
        panels[0].invert_yaxis()
        title = "Whole models on one core: less is faster, on a logarithmic scale"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        return figure
