"""Renders what `scorewire models` shows as tables of rich."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from scorewire._ledger import RecordLedger
from scorewire._models import Feature, FeatureKind, Model, ModelStatus, Routing, VersionState
from scorewire._statistics import Distribution, RouteStatistics
from scorewire.comparison import SAMPLE_RATIO_LEVEL, Comparison, Difference, Role, Side

_COLOURS = {
    VersionState.SERVING: "green",
    VersionState.REFUSED: "red",
    VersionState.LOADING: "yellow",
    VersionState.RETIRING: "yellow",
}
_NOTHING = "–"


def model_table(models: Sequence[ModelStatus]) -> Table:
    """A table with one row for each model."""
    table = _table("model", "default", "serving", "other", "split", "aliases", "shadow")
    for model in models:
        serving = [each.version for each in model.versions if each.state is VersionState.SERVING]
        others = [
            _coloured(each.state, f"{each.version} {each.state}")
            for each in model.versions
            if each.state is not VersionState.SERVING
        ]
        table.add_row(
            escape(model.name),
            escape(model.default_version) or "[red]none[/]",
            _listed(map(escape, serving)),
            _listed(others),
            *_routing_cells(model.routing),
        )
    return table


def status_view(status: ModelStatus) -> RenderableType:
    """Tables of a model's versions and routing."""
    table = _table("version", "state", "since", "runs on", "remark", title=f"{escape(status.name)}: versions")
    for each in status.versions:
        table.add_row(
            escape(each.version) + (" (default)" if each.version == status.default_version else ""),
            _coloured(each.state, each.state.value),
            f"{each.serving_since:%Y-%m-%d %H:%M:%S}Z" if each.serving_since else _NOTHING,
            escape(each.runs_on) or _NOTHING,
            escape(each.reason or each.runs_on_details) or _NOTHING,
        )
    split, aliases, shadow = _routing_cells(status.routing)
    routing = _table("split", "aliases", "shadow", "rollbacks", title="routing")
    routing.add_row(split, aliases, shadow, str(status.rollbacks))
    warning = (f"[red]{escape(status.warning)}[/]",) if status.warning else ()
    return Group(table, routing, *warning)


def _missing(feature: Feature) -> str:
    if not feature.missing_allowed:
        return "not allowed"
    return "allowed" if math.isnan(feature.missing_share) else f"{feature.missing_share:.0%} in training"


def version_view(model: Model) -> RenderableType:
    """Tables of a version's features, outputs and metrics."""
    features = _table(
        "feature", "kind", "range in training", "missing", "about",
        title=f"{escape(model.name)} {escape(model.version)} takes",
    )  # fmt: skip
    for feature in model.schema.features:
        span = _NOTHING
        if feature.kind is FeatureKind.TEXT:
            span = f"{feature.vocabulary_size:,} texts" if feature.vocabulary_size else "any text"
        elif not math.isnan(feature.minimum):
            span = f"{feature.minimum:g} to {feature.maximum:g}"
        features.add_row(
            escape(feature.name),
            feature.kind.value,
            span,
            _missing(feature),
            escape(feature.description) or _NOTHING,
        )
    outputs = _table("output", "kind", "width", "classes", title="and answers")
    for output in model.schema.outputs:
        outputs.add_row(
            escape(output.name),
            output.kind.value,
            str(output.width),
            _listed(map(escape, output.class_labels)),
        )
    parts: list[RenderableType] = [features, outputs]
    explanations = [
        each
        for status in model.status.versions
        if status.version == model.version
        for each in status.explanations
    ]
    if explanations:
        explained = _table("output", "explained by", "how, or why not", title="and explains (--explain)")
        for each in explanations:
            means = f"its margin, {escape(each.link)}" if each.link else "[yellow]not explained[/]"
            explained.add_row(escape(each.output), means, escape(each.details) or _NOTHING)
        parts.append(explained)
    if model.metrics:
        metrics = _table("metric", "held out", title="measured")
        for name, value in sorted(model.metrics.items()):
            metrics.add_row(escape(name), f"{value:.6g}")
        parts.append(metrics)
    if model.description:
        parts.insert(0, escape(model.description))
    return Group(*parts)


def statistics_table(
    routes: Sequence[RouteStatistics],
    recent: Sequence[RouteStatistics] | None = None,
    seconds: float = 0.0,
) -> Table:
    """A table with one row for each version and route.

    Args:
        routes: the statistics since each version was loaded.
        recent: the statistics of the last interval, for rates and quantiles; None
            for no rates, and quantiles over all calls.
        seconds: the length of the last interval.
    """
    rates = () if recent is None else ("calls/s",)
    table = _table(
        "model", "version", "route", "calls", *rates, "rows", "failed", "row errors",
        "p50", "p99", "score p10", "p50", "p90",
        right=range(3, 13),
    )  # fmt: skip
    for number, each in enumerate(routes):
        last = each if recent is None else recent[number]
        route = escape(each.route) or "default"
        if each.shadow:
            dropped = f", {each.dropped:,} dropped" if each.dropped else ""
            route = f"{route} (copies{dropped})"
        failed = ", ".join(f"{count:,} {reason}" for reason, count in each.errors.items())
        wrong = ", ".join(f"{count:,} {reason}" for reason, count in each.row_errors.items())
        table.add_row(
            escape(each.model),
            escape(each.version),
            route,
            f"{each.calls:,}",
            *(f"{last.calls / seconds:,.1f}" for _ in rates),
            f"{each.rows:,}",
            f"[red]{failed}[/]" if failed else "0",
            f"[yellow]{wrong}[/]" if wrong else "0",
            *(_duration(last.latency_seconds.quantile(q)) for q in (0.5, 0.99)),
            *(_number(last.scores.quantile(q)) for q in (0.1, 0.5, 0.9)),
        )
    return table


def ledger_text(ledger: RecordLedger) -> str:
    """The sums of a ledger, with what is wrong."""
    dropped = ", ".join(f"{rows:,} {escape(cause)}" for cause, rows in ledger.dropped.items())
    lines = [
        f"records: {ledger.offered:,} rows offered = {ledger.sampled_out:,} sampled out"
        f" + {ledger.lost:,} dropped + {ledger.buffered:,} buffered + {ledger.spooled:,} spooled",
        f"spooled: {ledger.spooled:,} rows = {ledger.stored:,} stored + {ledger.pending:,} pending"
        f" + {ledger.set_aside:,} set aside + {ledger.expired:,} expired",
    ]
    if dropped:
        lines.append(f"[red]dropped: {dropped}[/]")
    if ledger.problem:
        lines.append(f"[red]problem: {escape(ledger.problem)}[/]")
    return "\n".join(lines)


def comparison_table(comparison: Comparison, *, whole: bool) -> RenderableType:
    """A table of both versions side by side, with a warning first if the sample ratio is in doubt.

    Args:
        comparison: the result to show.
        whole: whether it counts all calls since the versions were loaded.
    """
    a, b = comparison.a, comparison.b
    table = _table(
        "", _heading(a), _heading(b), "difference", title=escape(comparison.model), right=range(1, 3)
    )
    table.add_row("calls", f"{a.attempts:,}", f"{b.attempts:,}", _ratio_verdict(comparison))
    table.add_row("rows", f"{a.counted.rows:,}", f"{b.counted.rows:,}", "")
    table.add_row(
        "failed calls", _share(a.error_rate), _share(b.error_rate), _rate_verdict(comparison.errors)
    )
    table.add_row(
        "rows with errors",
        _share(a.row_error_rate),
        _share(b.row_error_rate),
        _rate_verdict(comparison.row_errors),
    )
    for name, test, pick, form in (
        ("latency", comparison.latency, _latency, _duration),
        ("score", comparison.scores, _scores, _number),
    ):
        for position, quantile in enumerate((0.5, 0.9, 0.99) if name == "latency" else (0.1, 0.5, 0.9)):
            table.add_row(
                f"{name} p{quantile * 100:.0f}",
                form(pick(a).quantile(quantile)),
                form(pick(b).quantile(quantile)),
                "" if position else _distribution_verdict(test),
            )
    notes = []
    if comparison.in_doubt:
        notes.append(
            "[bold red]The calls were not shared out as the split says"
            f" (p < {SAMPLE_RATIO_LEVEL:g}): the two did not get comparable calls, and what differs below"
            " may come from that.[/]"
        )
        if whole:
            notes.append(
                "Calls since the versions were loaded were counted: where the split was changed in between,"
                " --seconds 60 counts under one split only."
            )
    fine_print = ["Calls of one key, and rows of one call, are not independent: a small p says less then."]
    if comparison.latency is not None and a.weight != b.weight:
        fine_print.append(
            "The version that gets fewer calls finds colder caches, which costs it some microseconds."
        )
    return Group(*notes, table, *fine_print)


def _heading(side: Side) -> str:
    weight = "" if side.weight is None or side.role is Role.SHADOW else f", weight {side.weight}"
    return f"{escape(side.version)} ({side.role}{weight})"


def _ratio_verdict(comparison: Comparison) -> str:
    copies = [side.counted for side in (comparison.a, comparison.b) if side.role is Role.SHADOW]
    if copies:
        dropped = sum(each.dropped for each in copies)
        return f"[yellow]{dropped:,} copies were left out[/]" if dropped else "copies of calls"
    if comparison.sample_ratio is None:
        return "[yellow]no split over both: calls may differ[/]"
    p_value = f"p = {comparison.sample_ratio:.3g}"
    return (
        f"[bold red]not as the split says, {p_value}[/]"
        if comparison.in_doubt
        else f"as the split says, {p_value}"
    )


def _rate_verdict(test: Difference | None) -> str:
    if test is None:
        return "not to be compared"
    return _coloured_verdict(test, f"{test.size * 100:+.3g} points")


def _distribution_verdict(test: Difference | None) -> str:
    if test is None:
        return "not to be compared"
    return _coloured_verdict(test, f"at least {test.size:.1%} lies elsewhere")


def _coloured_verdict(test: Difference, size: str) -> str:
    shown = f"{size}, p = {test.p_value:.3g}"
    return f"[yellow]differs: {shown}[/]" if test.differs else f"no difference shown: {shown}"


def _latency(side: Side) -> Distribution:
    return side.counted.latency_seconds


def _scores(side: Side) -> Distribution:
    return side.counted.scores


def _routing_cells(routing: Routing) -> tuple[str, str, str]:
    total = sum(routing.split.values())
    return (
        _listed(f"{escape(version)} {weight / total:.1%}" for version, weight in routing.split.items())
        if total
        else "highest release",
        _listed(f"{escape(name)} = {escape(version)}" for name, version in sorted(routing.aliases.items())),
        _NOTHING
        if routing.shadow is None
        else f"{escape(routing.shadow.version)} gets {routing.shadow.share:.1%}",
    )


def _table(*columns: str, title: str = "", right: range = range(0)) -> Table:
    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    return table


def _listed(parts: Iterable[str]) -> str:
    return "\n".join(parts) or _NOTHING


def _coloured(state: VersionState, text: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{escape(text)}[/]" if colour else escape(text)


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return _NOTHING
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _number(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.4g}"


def _share(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.3%}"
