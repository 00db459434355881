"""Scores rows through a running stack, and waits until they are stored and counted: the end of `make stack`.

Run as `python -m tests.stack`. It scores the golden rows of each model that serves, which every bundle has.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from scorewire import Client
from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import schema_pb2
from tests.processes import wait_until

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 20
# The addresses that deploy/compose publishes.
ADDRESSES = {
    "server": "127.0.0.1:8500",
    "gateway": "127.0.0.1:8080",
    "prometheus": "127.0.0.1:9090",
    "grafana": "127.0.0.1:3000",
    "mlflow": "127.0.0.1:5000",
}
_STORED = 'sum(scorewire_record_rows_held{state="stored"})'


def main() -> None:
    """Score, wait, and say where to look."""
    models = Path(os.environ.get("SCOREWIRE_MODELS_DIR", ROOT / "build/demo/models"))
    rows = score(models, ADDRESSES)
    print(f"{rows} rows were scored. They are in PostgreSQL, and Prometheus has counted them.")
    print(f"Dashboards: http://{ADDRESSES['grafana']} (user admin; deploy/compose/secrets/grafana)")
    print(f"API and console: http://{ADDRESSES['gateway']}")
    print(f"Prometheus: http://{ADDRESSES['prometheus']}; MLflow: http://{ADDRESSES['mlflow']}")


def score(models: Path, addresses: Mapping[str, str], rounds: int = ROUNDS) -> int:
    """Score the golden rows of models, and wait until the store has them and Prometheus has counted them.

    Returns:
        The number of rows.
    """
    before = ask_prometheus(addresses["prometheus"], _STORED)
    rows = 0
    with Client(addresses["server"]) as client:
        for model in client.models():
            if model.default_version:
                golden = _golden_rows(models / model.name / model.default_version)
                for _ in range(rounds):
                    client.predict(model.name, golden)
                _predict_by_http(addresses["gateway"], model.name, golden)
                rows += (rounds + 1) * len(golden)
    wait_until(
        lambda: ask_prometheus(addresses["prometheus"], _STORED) >= before + rows,
        f"{rows} rows in PostgreSQL, as Prometheus counts them",
    )
    return rows


def _golden_rows(folder: Path) -> list[dict[str, Any]]:
    bundle = read_bundle(folder)
    rows, names = bundle.golden.rows, {True: list[str](), False: list[str]()}
    for feature in bundle.manifest.schema.features:
        names[feature.kind == schema_pb2.FEATURE_KIND_NUMBER].append(feature.name)
    numbers, texts = iter(rows.numbers), iter(rows.texts)
    return [
        {name: next(numbers) for name in names[True]} | {name: next(texts) for name in names[False]}
        for _ in range(rows.row_count)
    ]


def _predict_by_http(address: str, model: str, rows: list[dict[str, Any]]) -> None:
    # JSON has no NaN: what is missing is null.
    plain = [{name: _or_none(value) for name, value in row.items()} for row in rows]
    answer = httpx.post(f"http://{address}/models/{model}:predict", json={"rows": plain}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == len(rows)


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ask_prometheus(address: str, query: str) -> float:
    """The value of a query; 0 if there is none yet."""
    answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=30)
    found = answer.raise_for_status().json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


if __name__ == "__main__":
    main()
