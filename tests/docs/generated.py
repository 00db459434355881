"""The parts of pages that are written from the code and from results.

A part stands between `<!-- generated: NAME -->` and `<!-- end of generated -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill

from scorewire_gateway import settings as gateway_settings

from scorewire_contract.service.settings import Description, flag
from scorewire_server.settings import describe
from tests.bench import explained_calls, kernel_tables, tables
from tests.bench.call_loads import ONE, PIPELINED
from tests.deploy.rules import ALERTS
from tests.docs.pages import PAGES, ROOT, read_anchors
from tests.families.page import PAGE, read_results

RESULTS = ROOT / "tests/bench/results/engines.json"
KERNEL_RESULTS = RESULTS.with_name("kernels.json")
_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end of generated -->)", re.DOTALL
)
# A label or the value in the text of an alert.
_PLACEHOLDER = re.compile(r"\{\{ \$(?:labels\.(\w+)|value)[^}]*\}\}")
# The groups of settings, each by its first setting in the order of `Settings`.
_GROUPS = {
    "models": "Bundles, versions and control",
    "listen": "Addresses, TLS and metrics",
    "engine": "Engine and threads",
    "trial_seconds": "Loading in a sandbox",
    "max_rows": "Limits",
    "drain_seconds": "Stopping",
    "records": "Records",
    "log_format": "Logs",
}

_GATEWAY_GROUPS = {
    "server": "The connection to the server",
    "listen": "Addresses, TLS, who may call",
    "timeout": "Bounds",
    "records": "Records of predictions",
    "drain_seconds": "Stopping",
    "files": "Files for download",
    "jobs": "Training jobs",
    "log_format": "Logs",
}


def update(text: str) -> str:
    """A page with its generated parts written anew.

    Raises:
        KeyError: the page has a part of an unknown name.
    """
    return _PART.sub(lambda part: f"{part['begin']}\n{PARTS[part['name']]()}\n{part['end']}", text)


def pages() -> dict[Path, str]:
    """The pages with generated parts, and the text that each should have."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    return {page: update(text) for page, text in texts.items() if _PART.search(text)}


def _server_flags() -> str:
    return _flags(describe(), _GROUPS)


def _gateway_flags() -> str:
    return _flags(gateway_settings.describe(), _GATEWAY_GROUPS)


def _flags(descriptions: Mapping[str, Description], groups: Mapping[str, str]) -> str:
    """A table of flags for each group."""
    sections: list[str] = []
    for name, described in descriptions.items():
        if name in groups:
            sections.append(f"### {groups[name]}\n\n| flag | values | default | meaning |\n|---|---|---|---|")
        cells = (
            f"`{flag(name)}`",
            described.values,
            described.default and f"`{described.default}`",
            described.purpose,
        )
        sections[-1] += f"\n| {' | '.join(map(_escape, cells))} |"
    return "\n\n".join(sections) + "\n"


def _escape(cell: str) -> str:
    """Text of a cell in which no character ends the cell or begins a tag."""
    return cell.replace("|", "\\|").replace("<", "&lt;")


def _families() -> str:
    text = PAGE.read_text(encoding="utf-8")
    lines = ["| kind of model | exported | refused | the list |", "|---|---|---|---|"]
    anchors = read_anchors(text)
    for section in text.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        results = list(read_results(section).values())
        (anchor,) = (
            each for each in anchors if each == re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        )
        lines.append(
            f"| {title} | {sum(results)} | {len(results) - sum(results)} | [kinds](models.md#{anchor}) |"
        )
    return "\n".join(lines) + "\n"


def _performance() -> str:
    return tables.to_markdown(tables.read(RESULTS)).partition("\n\n")[2]


def _kernel_performance() -> str:
    return kernel_tables.overview(kernel_tables.read(KERNEL_RESULTS))


def _explanation_performance() -> str:
    return _without_title(KERNEL_RESULTS.parent / "explanations.md")


def _explained_calls() -> str:
    return _without_title(explained_calls.RESULTS)


def _without_title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n\n")[2]


def _headline() -> str:
    found = tables.read(RESULTS)
    rate = found.median("native", PIPELINED.name, "calls_per_second")
    latency = found.median("native", ONE.name, "p50_us")
    empty = found.median("empty C++ (gRPC)", PIPELINED.name, "calls_per_second")
    text = f"""\
        **Speed: {round(rate, -3):,.0f} predictions a second on one core, and {latency:.0f} µs for one call.**
        XGBoost with 100 trees of depth 6 on 30 numbers; native engine; rows: {found.conditions["Rows"]}; one
        connection, {PIPELINED.in_flight} calls in flight for the rate and one for the median latency;
        the load comes from another core of the same machine. A C++ gRPC server that runs no model answers
        {round(empty, -3):,.0f} there.
        [All results, what they leave out, and how to repeat them](docs/performance.md)."""
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _alerts() -> str:
    lines = ["| alert | severity | meaning |", "|---|---|---|"]
    for name, rule in ALERTS.items():
        runbook = rule["annotations"]["runbook_url"].removeprefix("docs/")
        meaning = _PLACEHOLDER.sub(_placeholder, rule["annotations"]["summary"])
        lines.append(f"| [`{name}`]({runbook}) | {rule['labels']['severity']} | {_escape(meaning)} |")
    return "\n".join(lines) + "\n"


def _placeholder(found: re.Match[str]) -> str:
    return (found[1] or "value").upper()


PARTS: dict[str, Callable[[], str]] = {
    "server-flags": _server_flags,
    "gateway-flags": _gateway_flags,
    "families": _families,
    "performance": _performance,
    "kernel-performance": _kernel_performance,
    "explanation-performance": _explanation_performance,
    "explained-calls": _explained_calls,
    "headline": _headline,
    "alerts": _alerts,
}
