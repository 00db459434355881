"""The chart: its rendered objects, and the part of its schema that comes from the settings of the programs.

`python -m tests.deploy.chart` writes that part into values.schema.json.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import scorewire_gateway.settings
import yaml

import scorewire_server.settings
from scorewire_contract.service.settings import Description, flag
from tests.deploy.tools import ROOT, program

CHART = ROOT / "deploy/helm/scorewire"
VALUES = CHART / "ci"
SCHEMA = CHART / "values.schema.json"
# Settings that the chart sets by other values.
OF_SERVER = {
    *("models", "state_file", "control", "listen", "port_file", "tls_cert", "tls_key", "metrics_port"),
    *("drain_seconds", "grace_seconds", "access"),
    *("records", "records_to", "records_password_file", "records_policy"),
}
OF_GATEWAY = {
    *(
        "server",
        "server_tls",
        "server_tls_ca",
        "server_tls_cert",
        "server_tls_key",
        "server_tls_name",
        "server_access",
    ),
    *("listen", "port_file", "tls_cert", "tls_key", "metrics_port", "drain_seconds", "grace_seconds"),
}
_NUMBER = re.compile(
    r"a (?P<kind>whole number|number of seconds) from (?P<low>[\d.e+]+) to (?P<high>[\d.e+]+)"
)
_CHOICE = "one of "


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm, and wait for its end."""
    return subprocess.run(
        [program("helm"), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


def render(values: Path | None = None, *arguments: str) -> list[dict[str, Any]]:
    """The objects of a release `demo` in the namespace `models`, with values from a file."""
    files = ["--values", str(values)] if values is not None else []
    done = helm("template", "demo", CHART, "--namespace", "models", *files, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each is not None]


def settings_schema() -> dict[str, Any]:
    """The definitions of the schema that come from the settings of the server and of the gateway."""
    return {
        "serverSettings": _of(scorewire_server.settings.describe(), OF_SERVER),
        "gatewaySettings": _of(scorewire_gateway.settings.describe(), OF_GATEWAY),
    }


def _of(descriptions: dict[str, Description], left_out: set[str]) -> dict[str, Any]:
    assert left_out <= descriptions.keys()
    properties = {
        flag(name).removeprefix("--"): _value(description)
        for name, description in descriptions.items()
        if name not in left_out
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(description: Description) -> dict[str, Any]:
    default = f" Default: {description.default}." if description.default else ""
    described = {"description": f"{description.purpose} ({description.values}){default}"}
    if number := _NUMBER.fullmatch(description.values):
        kind = "integer" if number["kind"] == "whole number" else "number"
        limits = {"minimum": float(number["low"]), "maximum": float(number["high"])}
        return {
            **described,
            "type": kind,
            **{key: int(at) if at == int(at) else at for key, at in limits.items()},
        }
    if description.values.startswith(_CHOICE):
        return {**described, "enum": description.values.removeprefix(_CHOICE).split(", ")}
    return {**described, "type": "string", "minLength": 1}


def main() -> None:
    """Write the definitions into the schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"] |= settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
