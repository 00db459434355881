"""The report of a run, as tables for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from scorewire_loadtest import slo
from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.results import LATE_NS, Results

FORMAT_VERSION = 1
# If the generator is busier than this, it may be the bottleneck instead of the server.
BUSY_LIMIT = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The settings of a run by name, its results, and the verdicts on its objectives."""

    settings: dict[str, str]
    results: Results
    verdicts: list[slo.Verdict]

    @property
    def passed(self) -> bool:
        """Whether calls were answered, no answer was wrong, and every objective was met."""
        met = all(verdict.met for verdict in self.verdicts)
        return met and self.results.answered > 0 and not self.results.wrong

    @property
    def warnings(self) -> list[str]:
        """Reasons not to trust the numbers, as sentences."""
        generator, results = self.results.generator, self.results
        found = []
        if not results.answered:
            found.append("No call was answered.")
        if generator.busy > BUSY_LIMIT:
            ceiling = results.calls / results.elapsed_s / generator.busy if results.elapsed_s else 0.0
            found.append(
                f"The generator was busy {generator.busy:.0%} of the time: these may be its own limits"
                f" (about {ceiling:,.0f} calls/s here), not the server's."
            )
        if generator.held or generator.unsent:
            found.append(
                f"The server fell behind the rate: {generator.held:,} calls left late for want of"
                f" room among the outstanding ones (their latency has the wait), {generator.unsent:,} were"
                " never sent."
            )
        late = generator.late - generator.held
        if late > 0.01 * max(results.calls, 1):
            found.append(
                f"{late:,} calls left more than {show_duration(LATE_NS / 1000)} late through the generator's"
                " own doing; their latency has the delay."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """The report in types of JSON: latencies in microseconds, percentiles with names such as p99."""
        results = self.results
        body = asdict(results)
        body["latency_us"] = {f"p{key:g}": value for key, value in results.latency_us.items()}
        body["generator"]["lag_us"] = {f"p{key:g}": value for key, value in results.generator.lag_us.items()}
        return {
            "format_version": FORMAT_VERSION,
            "settings": self.settings,
            "passed": self.passed,
            "objectives": [
                {
                    "metric": verdict.objective.metric,
                    "limit": verdict.objective.limit,
                    "measured": verdict.measured,
                    "met": verdict.met,
                }
                for verdict in self.verdicts
            ],
            "warnings": self.warnings,
            "calls_per_second": results.calls_per_second,
            "rows_per_second": results.rows_per_second,
            "error_rate": results.error_rate,
            "failed": results.failed,
            **body,
        }


def show(report: Report, console: Console) -> None:
    """Print a report as tables."""
    results = report.results
    parts: list[Table | Text] = [_facts(report.settings), Text(), _facts(_totals(results)), Text()]
    if results.latency_us:
        parts.append(_latencies(results))
    if results.errors:
        parts.append(_errors(results))
    if results.wrong_examples:
        parts.append(Text("Wrong answers, the first of them:", style="bold red"))
        parts.extend(Text(f"  {example}") for example in results.wrong_examples)
    if report.verdicts:
        parts.append(_objectives(report.verdicts))
    parts.extend(Text(f"! {warning}", style="yellow") for warning in report.warnings)
    console.print(Group(*parts))


def _totals(results: Results) -> dict[str, str]:
    generator = results.generator
    lag = ", ".join(f"p{key:g} {show_duration(value)}" for key, value in generator.lag_us.items())
    facts = {
        "answered": f"{results.answered:,} of {results.calls:,} calls in {results.elapsed_s:.2f} s",
        "throughput": f"{results.calls_per_second:,.1f} calls/s, {results.rows_per_second:,.1f} rows/s",
        "error rate": (
            f"{results.error_rate:.4%} ({results.failed:,} failed, {results.wrong:,} wrong,"
            f" {generator.unsent:,} never sent)"
        ),
    }
    if results.row_errors:
        facts["refused rows"] = f"{results.row_errors:,}"
    facts["generator"] = f"busy {generator.busy:.0%}" + (
        f"; lag {lag}, max {show_duration(generator.max_lag_us)}" if lag else ""
    )
    return facts


def _facts(facts: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _latencies(results: Results) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("latency")
    table.add_column("", justify="right")
    table.add_row("min", show_duration(results.min_us))
    table.add_row("mean", show_duration(results.mean_us))
    for key, value in results.latency_us.items():
        table.add_row(f"p{key:g}", show_duration(value))
    table.add_row("max", show_duration(results.max_us))
    return table


def _errors(results: Results) -> Table:
    table = _table("status", "reason", "calls", "message of the first")
    for error in results.errors:
        table.add_row(error.code, error.reason or "-", f"{error.count:,}", error.example or "-")
    return table


def _objectives(verdicts: list[slo.Verdict]) -> Table:
    table = _table("objective", "limit", "measured", "")
    for verdict in verdicts:
        objective = verdict.objective
        table.add_row(
            objective.metric,
            slo.show(objective, objective.limit),
            slo.show(objective, verdict.measured),
            Text("met", style="green") if verdict.met else Text("MISSED", style="bold red"),
        )
    return table
