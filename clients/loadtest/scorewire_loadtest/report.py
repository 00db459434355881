"""The report of a run, as tables for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from scorewire_loadtest import saturation, slo
from scorewire_loadtest.environment import Environment
from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.results import Generator, Results

# The version of the JSON. It changes if a field is removed or gets another meaning, and not if one is added.
FORMAT_VERSION = 1
SATURATED = "SATURATED: these figures are limits of the load generator, not of the server."


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The settings of a run by name, where it took place, its results, and the verdicts on its objectives."""

    settings: dict[str, str]
    environment: Environment
    results: Results
    verdicts: list[slo.Verdict]

    @property
    def saturation(self) -> list[str]:
        """Why the results are limits of the generator, as sentences; empty if they are the server's."""
        return saturation.reasons(self.results)

    @property
    def answers_were_right(self) -> bool:
        """Whether calls were answered, and no answer was wrong."""
        return self.results.answered > 0 and not self.results.wrong

    @property
    def passed(self) -> bool:
        """Whether calls were answered, no answer was wrong, and every objective was met.

        A saturated generator cannot tell whether an objective is met.
        """
        met = all(verdict.met for verdict in self.verdicts)
        return self.answers_were_right and met and not (self.verdicts and self.saturation)

    @property
    def warnings(self) -> list[str]:
        """What else to know of the numbers, as sentences."""
        generator, results = self.results.generator, self.results
        found = []
        if not results.answered:
            found.append("No call was answered.")
        if generator.held or generator.unsent:
            found.append(
                f"The server fell behind the rate: {generator.held:,} calls left late for want of"
                f" room among the outstanding ones (their latency has the wait), {generator.unsent:,} were"
                " never sent."
            )
        return found

    @property
    def notes(self) -> list[str]:
        """Saturation and warnings, in the order in which they are shown."""
        found = self.saturation
        return [*([SATURATED, *found] if found else []), *self.warnings]

    def to_json(self) -> dict[str, Any]:
        """The report in types of JSON: latencies in microseconds, percentiles with names such as p99."""
        results = self.results
        body = asdict(results)
        body["latency_us"] = {f"p{key:g}": value for key, value in results.latency_us.items()}
        body["generator"]["lag_us"] = {f"p{key:g}": value for key, value in results.generator.lag_us.items()}
        return {
            "format_version": FORMAT_VERSION,
            "saturated": bool(self.saturation),
            "saturation": self.saturation,
            "passed": self.passed,
            **asdict(self.environment),
            "settings": self.settings,
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
    parts: list[Table | Text] = []
    if found := report.saturation:
        parts.append(Text(SATURATED, style="bold red"))
        parts.extend(Text(f"  {reason}", style="red") for reason in found)
        parts.append(Text(f"  {_advice(results.generator)}"))
        parts.append(Text())
    parts += [_facts({**report.settings, **report.environment.describe()}), Text()]
    parts += [_facts(_totals(results)), Text()]
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


def _advice(generator: Generator) -> str:
    """What to do about a saturated generator."""
    faster = "" if generator.name == "native" else " use --generator native,"
    return f"Give the generator a core of its own (taskset),{faster} or lower the rate or the concurrency."


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
    queued = "not told by this system" if generator.queued is None else f"{generator.queued:.1%}"
    facts["generator"] = f"{generator.name}, busy {generator.busy:.0%}, in the run queue {queued}" + (
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
