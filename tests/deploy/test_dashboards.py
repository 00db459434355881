"""The dashboards are what the definitions say, and fit Grafana, as far as that can be told without it."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from deploy.grafana.definitions.__main__ import files
from tests.deploy.compose import SERVICES
from tests.deploy.dashboards import DASHBOARDS, FOLDER, ROOT, Query, filled_promql, queries
from tests.deploy.queries import check
from tests.docs.pages import read_anchors

# Of Grafana's units and panels, those that are used here.
UNITS = {"short", "none", "percentunit", "s", "bytes", "reqps", "rps", "ops"}
KINDS = {"row", "stat", "timeseries", "table", "heatmap", "barchart"}
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in dashboard["panels"]]
REAL = [(name, panel) for name, panel in PANELS if panel["type"] != "row"]
IDS = [f"{name}-{panel['title']}" for name, panel in REAL]


def test_the_files_are_written_from_the_definitions() -> None:
    written = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert written == files(), "run make docs"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_provisioned(name: str) -> None:
    dashboard = DASHBOARDS[name]
    # A database's id would be that of another Grafana.
    assert "id" not in dashboard
    assert dashboard["uid"] == f"scorewire-{name}"
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_stand_side_by_side(name: str) -> None:
    cells = [_cells(panel["gridPos"]) for panel in DASHBOARDS[name]["panels"]]
    assert all(0 <= x < 24 for each in cells for x, _ in each)
    assert all(not first & second for first, second in combinations(cells, 2))


def _cells(place: dict[str, int]) -> set[tuple[int, int]]:
    columns = range(place["x"], place["x"] + place["w"])
    return {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}


@pytest.mark.parametrize(("name", "panel"), REAL, ids=IDS)
def test_a_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["type"] in KINDS
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"]
    assert panel["targets"]
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)
    for page, anchor in re.findall(r"(docs/runbooks/\w+\.md)#(\w+)", panel["description"]):
        assert anchor in read_anchors((ROOT / page).read_text(encoding="utf-8"))


def test_data_sources_are_those_that_are_provisioned() -> None:
    path = ROOT / "deploy/grafana/provisioning/datasources/scorewire.yml"
    sources = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]
    known = {(source["type"], source["uid"]) for source in sources}
    asked = {
        (target["datasource"]["type"], target["datasource"]["uid"])
        for _, panel in REAL
        for target in (panel, *panel["targets"])
    }
    assert asked == known
    for source in sources:
        for value in source.get("secureJsonData", {}).values():
            assert re.fullmatch(r"\$__file\{/run/secrets/(\w+)\}", value)
            assert value.removeprefix("$__file{/run/secrets/")[:-1] in SERVICES["grafana"]["secrets"]


def test_grafana_is_told_where_the_dashboards_are() -> None:
    path = ROOT / "deploy/grafana/provisioning/dashboards/scorewire.yml"
    (provider,) = yaml.safe_load(path.read_text(encoding="utf-8"))["providers"]
    folder = provider["options"]["path"]
    assert f"../grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.rpartition("/")[0] == folder
    assert (FOLDER / home.rpartition("/")[2]).exists()


_PROMETHEUS = [query for query in queries() if not query.is_sql]


@pytest.mark.parametrize("query", _PROMETHEUS, ids=[query.where for query in _PROMETHEUS])
def test_a_query_asks_for_what_there_is(query: Query) -> None:
    if "ALERTS{" not in query.text:  # of Prometheus itself, with the labels of all alerts
        check(filled_promql(query.text))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_that_are_used_can_be_chosen(name: str) -> None:
    dashboard = DASHBOARDS[name]
    used = {
        found
        for query in queries()
        if query.where.startswith(f"{name}:")
        for found in re.findall(r"\$\{?(\w+)", query.text)
        if not found.startswith("__")
    }
    assert used == {variable["name"] for variable in dashboard["templating"]["list"]}
