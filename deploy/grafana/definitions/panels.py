"""What dashboards are made of: rows of panels, each with queries, and variables to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMNS = 24
PROMETHEUS = {"type": "prometheus", "uid": "scorewire-prometheus"}
RECORDS = {"type": "grafana-postgresql-datasource", "uid": "scorewire-records"}
# The records of one interval are a point.
_LEAST_INTERVAL = "1m"
# The version of Grafana's schema of dashboards, which newer releases migrate by themselves.
_SCHEMA_VERSION = 39


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A query of Prometheus.

    Attributes:
        expression: the query, with the dashboard's variables.
        legend: the name of each series, with labels in double braces.
        instant: whether the value is that of now, as a table or a single number shows it.
        format: `time_series`, `table` or `heatmap`.
    """

    expression: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"

    def target(self, letter: str) -> dict[str, Any]:
        """As a panel's target."""
        return {
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": self.expression,
            "format": self.format,
            "instant": self.instant,
            "legendFormat": self.legend or "__auto",
            "range": not self.instant,
            "refId": letter,
        }


@dataclass(frozen=True, slots=True)
class Sql:
    """A query of the records in PostgreSQL.

    Attributes:
        statement: the statement, with the dashboard's variables and Grafana's macros.
        format: `table`, or `time_series` if it has a column `time`.
    """

    statement: str
    format: str = "table"

    def target(self, letter: str) -> dict[str, Any]:
        """As a panel's target."""
        return {
            "datasource": RECORDS,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": " ".join(self.statement.split()),
            "refId": letter,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel.

    Attributes:
        title: the title.
        about: what the panel shows, and what to do if it looks wrong.
        queries: the queries; all of one data source.
        unit: the unit of the values, by Grafana's name.
        kind: the kind of panel.
        width: columns of 24.
        height: rows of 30 pixels.
        stacked: whether the series are stacked.
        pivot: the columns of a result whose values become rows, columns and cells; for bar charts.
        options: options of this kind of panel.
    """

    title: str
    about: str
    queries: Sequence[Prometheus | Sql] = ()
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    pivot: tuple[str, str, str] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As JSON, at a place of the grid."""
        targets = [query.target("ABCDEFGH"[index]) for index, query in enumerate(self.queries)]
        panel: dict[str, Any] = {
            "description": self.about,
            "fieldConfig": {"defaults": {"unit": self.unit, **self._defaults()}, "overrides": []},
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "id": number,
            "options": _OPTIONS.get(self.kind, {}) | self.options,
            "targets": targets,
            "title": self.title,
            "type": self.kind,
        }
        if targets:
            panel["datasource"] = targets[0]["datasource"]
        if self._is_series_of_records:
            panel["interval"] = _LEAST_INTERVAL
        if self.pivot is not None:
            row, column, value = self.pivot
            cells = {"rowField": row, "columnField": column, "valueField": value, "emptyValue": "zero"}
            panel["transformations"] = [{"id": "groupingToMatrix", "options": cells}]
        return panel

    @property
    def _is_series_of_records(self) -> bool:
        return any(isinstance(query, Sql) and query.format == "time_series" for query in self.queries)

    def _defaults(self) -> dict[str, Any]:
        if self.kind != "timeseries":
            return {}
        stacking = {"group": "A", "mode": "normal" if self.stacked else "none"}
        custom = {"fillOpacity": 25 if self.stacked else 8, "lineWidth": 1, "showPoints": "auto"}
        defaults: dict[str, Any] = {"custom": custom | {"stacking": stacking}}
        # Scores may be negative; rates, times and sizes are not.
        if self._is_series_of_records:
            return defaults | {"displayName": "${__field.labels.metric}"}
        return defaults | {"min": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels under a title; panels flow into as many lines as they need."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable to choose, of the values that a query finds.

    Attributes:
        name: the name; queries use it as `$name`.
        label: what people see.
        query: the query.
        every: the value that stands for all; None lists all values.
    """

    name: str
    label: str
    query: Prometheus | Sql
    every: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        if isinstance(self.query, Prometheus):
            source, query = PROMETHEUS, {"query": self.query.expression, "refId": "A"}
        else:
            source, query = RECORDS, self.query.statement  # type: ignore[assignment]
        return {
            "allValue": self.every,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "datasource": source,
            "definition": query["query"] if isinstance(query, dict) else query,
            "hide": 0,
            "includeAll": True,
            "label": self.label,
            "multi": True,
            "name": self.name,
            "query": query,
            "refresh": 2,
            "sort": 1,
            "type": "query",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard; its uid is its file's name after `scorewire-`."""

    name: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]

    def to_json(self) -> dict[str, Any]:
        """As the JSON that Grafana provisions."""
        return {
            "annotations": {"list": [_ALERTS_AS_ANNOTATIONS]},
            "description": self.about,
            "editable": False,
            "graphTooltip": 1,
            "links": [_LINKS],
            "panels": self._panels(),
            "refresh": "30s",
            "schemaVersion": _SCHEMA_VERSION,
            "tags": ["scorewire"],
            "templating": {"list": [variable.to_json() for variable in self.variables]},
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "title": self.title,
            "uid": f"scorewire-{self.name}",
        }

    def _panels(self) -> list[dict[str, Any]]:
        panels: list[dict[str, Any]] = []
        y = 0
        for row in self.rows:
            title = {"collapsed": False, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}, "panels": []}
            panels.append(title | {"id": len(panels) + 1, "title": row.title, "type": "row"})
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                panels.append(panel.to_json(len(panels) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return panels


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_LEGEND = {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": _LAST, "textMode": "auto"},
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "barchart": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "xField": "band",
    },
    "table": {"showHeader": True},
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"unit": "s"},
    },
}
_LINKS = {
    "asDropdown": False,
    "includeVars": False,
    "keepTime": True,
    "tags": ["scorewire"],
    "title": "Scorewire",
    "type": "dashboards",
}
_ALERTS_AS_ANNOTATIONS = {
    "datasource": PROMETHEUS,
    "enable": True,
    "expr": 'ALERTS{alertname=~"Scorewire.*", alertstate="firing"}',
    "iconColor": "red",
    "name": "Alerts",
    "tagKeys": "severity",
    "titleFormat": "{{alertname}}",
}
