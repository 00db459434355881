"""Reads the dashboards for Grafana, and fills in variables and macros as Grafana does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana/dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


@dataclass(frozen=True)
class Query:
    """A query of a panel or a variable.

    Attributes:
        where: the dashboard, the panel or variable, and the letter.
        text: the query, as it is written.
        is_sql: whether it is SQL.
        instant: whether it asks for the value of now.
    """

    where: str
    text: str
    is_sql: bool
    instant: bool = False


def queries() -> list[Query]:
    """The queries of all panels and variables."""
    found: list[Query] = []
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                where = f"{name}: {panel['title']} {target['refId']}"
                if "rawSql" in target:
                    found.append(Query(where, target["rawSql"], is_sql=True))
                else:
                    found.append(Query(where, target["expr"], is_sql=False, instant=target["instant"]))
        for variable in dashboard["templating"]["list"]:
            where, text = f"{name}: ${variable['name']}", variable["definition"]
            is_sql = variable["datasource"]["type"] != "prometheus"
            # label_values(QUERY, LABEL) lists the values of a label.
            series = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
            if series:
                text = f"count by ({series[2]}) ({series[1]})"
            found.append(Query(where, text, is_sql=is_sql, instant=True))
    return found


def filled_promql(text: str) -> str:
    """A query of Prometheus with all values of each variable."""
    text = text.replace("$__rate_interval", "5m")
    return re.sub(r"\$(instance|model|version)\b", ".*", text)


def filled_sql(text: str, models: list[str], since: datetime, until: datetime) -> str:
    """A statement with the macros and variables that Grafana fills in."""
    text = text.replace("$__timeFrom()", f"'{since.isoformat()}'").replace(
        "$__timeTo()", f"'{until.isoformat()}'"
    )
    text = text.replace("${model:sqlstring}", ", ".join(f"'{model}'" for model in models))
    text = re.sub(r"\$__timeGroup\((\w+), \$__interval\)", r"floor(extract(epoch from \1) / 60) * 60", text)
    assert "$" not in text, text
    return text
