"""A report as one self-contained HTML page."""

from __future__ import annotations

import html
import re

from scorewire_loadtest import slo
from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.report import Report
from scorewire_loadtest.results import Results

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1f2933;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; margin-bottom: .2rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ text-align: left; padding: .3rem 1.2rem .3rem 0;
  border-bottom: 1px solid #e4e7eb; vertical-align: top; }}
th {{ color: #7b8794; font-weight: 500; }}
.bad {{ color: #dc2626; }}
.note {{ border-left: 3px solid #d97706; padding-left: .8rem; }}
svg {{ width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{notes}
{settings}
{latencies}
{errors}
{objectives}
{picture}
</body>
</html>
"""


def to_page(report: Report, svg: str) -> str:
    """Render the tables of a report and its plot as one self-contained HTML page."""
    results = report.results
    latencies = {f"p{key:g}": show_duration(value) for key, value in results.latency_us.items()}
    if latencies:
        latencies["max"] = show_duration(results.max_us)
    objectives = [
        [
            v.objective.metric,
            slo.show(v.objective, v.objective.limit),
            slo.show(v.objective, v.measured),
            "met" if v.met else "MISSED",
        ]
        for v in report.verdicts
    ]
    errors = [[e.code, e.reason or "-", f"{e.count:,}", e.example or "-"] for e in results.errors]
    errors += [["OK", "wrong answer", "", example] for example in results.wrong_examples]
    notes = "".join(f'<p class="note">{html.escape(text)}</p>' for text in report.notes)
    # An XML prolog is not allowed within HTML.
    picture = re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.DOTALL)
    return _PAGE.format(
        title=html.escape(headline(results)),
        notes=notes,
        settings=_html_table(
            [], [list(pair) for pair in {**report.settings, **report.environment.describe()}.items()]
        ),
        latencies=_html_table(list(latencies), [list(latencies.values())] if latencies else []),
        errors=_html_table(["status", "reason", "calls", "message"], errors),
        objectives=_html_table(["objective", "limit", "measured", ""], objectives),
        picture=picture,
    )


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = [f"<tr>{cells}</tr>"] if head else []
    for row in rows:
        cells = "".join(
            f'<td class="bad">{html.escape(cell)}</td>'
            if cell == "MISSED"
            else f"<td>{html.escape(cell)}</td>"
            for cell in row
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def headline(results: Results) -> str:
    """The results in one line."""
    return (
        f"{results.calls_per_second:,.0f} calls/s answered, {results.failed:,} failed,"
        f" {results.wrong:,} wrong, in {results.elapsed_s:.1f} s"
    )
