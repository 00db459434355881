"""Writes the dashboards to deploy/grafana/dashboards: `python -m deploy.grafana.definitions`."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.definitions.business import BUSINESS
from deploy.grafana.definitions.models import MODELS_DASHBOARD
from deploy.grafana.definitions.service import SERVICE

FOLDER = Path(__file__).parents[1] / "dashboards"


def files() -> dict[Path, str]:
    """The files, each with the text that it should have."""
    return {
        FOLDER / f"{dashboard.name}.json": json.dumps(dashboard.to_json(), indent=2, sort_keys=True) + "\n"
        for dashboard in (SERVICE, MODELS_DASHBOARD, BUSINESS)
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
