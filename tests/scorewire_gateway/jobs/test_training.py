"""Whole jobs over HTTP: from an upload to files, by the real training tool."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import httpx
import pandas as pd
import pytest

from scorewire_contract.bundle import read_bundle
from tests.scorewire_gateway.jobs.conftest import Gateways
from tests.scorewire_gateway.jobs.following import get, submit, wait_for_end
from tests.scorewire_gateway.jobs.tables import shop, users


def _download(client: httpx.Client, job: str, name: str) -> bytes:
    answer = client.get(f"/jobs/{job}/files/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_repurchase_is_trained_from_a_body_and_published(
    gateway: Gateways, folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    client = gateway(jobs_models=models)
    asked = {"trials": "1", "cut": "2020-09-15", "horizon_days": "60", "version": "2.0.0", "seed": "3"}
    job = submit(client, shop(), model="repurchase", name="my shop.csv", **asked)
    assert (job["kind"], job["file"], job["bytes"]) == ("train", "my shop.csv", len(shop()))
    assert job["settings"] == asked
    job = wait_for_end(client, job)
    assert (job["state"], job["error"]) == ("succeeded", None), job
    result = job["result"]
    assert (result["model"], result["version"]) == ("repurchase", "2.0.0")
    assert {
        "subject": "delimiter",
        "text": "a comma (found from the header and the first rows)",
        "values": "",
    } in job["table"]
    assert {file["name"] for file in job["files"]} == {
        "cleaning.json", "features.parquet", "log.txt", "metrics.json", "model_card.md", "report.html",
        "repurchase-2.0.0.tar.gz", "training.toml",
    }  # fmt: skip
    # The table has private data, and is not needed any more.
    assert list(folder.rglob("*.csv")) == []

    # The archive is unpacked into a folder of models, and its bundle is the one that was proven.
    with tarfile.open(fileobj=io.BytesIO(_download(client, job["id"], result["bundle"]))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    manifest = read_bundle(tmp_path / "unpacked" / "repurchase" / "2.0.0").manifest
    assert manifest.metrics["auc"] == next(m["value"] for m in result["metrics"] if m["name"] == "auc")
    assert "60 days" in manifest.description
    assert b"Who buys again?" in _download(client, job["id"], "report.html")
    features = pd.read_parquet(io.BytesIO(_download(client, job["id"], "features.parquet")))
    assert len(features) == 220
    cleaning = json.loads(_download(client, job["id"], "cleaning.json"))
    assert cleaning == {"table": job["table"], "steps": result["cleaning"]}
    assert "Writing the bundle" in _download(client, job["id"], "log.txt").decode()
    assert job["log"][-1] == "Writing the bundle"

    # Nothing that clients see tells a folder of this machine.
    for name in ("cleaning.json", "log.txt", "metrics.json", "model_card.md", "report.html", "training.toml"):
        assert str(tmp_path).encode() not in _download(client, job["id"], name)
    assert str(tmp_path) not in json.dumps(job)

    # Files have ranges and digests, and nothing beside them can be read.
    answer = client.get(f"/jobs/{job['id']}/files/{result['bundle']}", headers={"Range": "bytes=2-4"})
    content = _download(client, job["id"], result["bundle"])
    assert (answer.status_code, answer.content) == (206, content[2:5])
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    head = client.head(f"/jobs/{job['id']}/files/{result['bundle']}")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(content)))
    for name in ("job.json", "..%2Fjob.json", "%2E%2E", ".log.txt", "models", "absent"):
        answer = client.get(f"/jobs/{job['id']}/files/{name}")
        assert answer.status_code == 404, name

    assert not models.exists()
    answer = client.post(f"/jobs/{job['id']}:publish")
    assert answer.status_code == 200
    assert answer.json()["job"]["published"] is True
    published = models / "repurchase" / "2.0.0"
    assert read_bundle(published).manifest == manifest
    assert [path.name for path in published.parent.iterdir()] == ["2.0.0"]
    answer = client.post(f"/jobs/{job['id']}:publish")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (409, "VERSION_EXISTS")


def test_game_revenue_is_trained_from_a_form(gateway: Gateways) -> None:
    client = gateway()
    table = users().replace(b"revenue", b"Umsatz", 1)
    answer = client.post(
        "/jobs",
        data={"model": "game-revenue", "trials": "1", "column": "revenue=Umsatz"},
        files={"file": ("users.csv", table, "text/csv")},
    )
    assert answer.status_code == 202, answer.text
    job = wait_for_end(client, answer.json()["job"])
    assert (job["state"], job["error"]) == ("succeeded", None), job
    assert job["settings"] == {"trials": "1", "column": ["revenue=Umsatz"]}
    assert job["result"]["bundle"] == "game-revenue-1.0.0.tar.gz"
    assert job["result"]["commands"][2] == (
        "scorewire train features --model game-revenue --data users.csv --column revenue=Umsatz "
        "--output features.parquet"
    )
    assert "features.parquet" not in {file["name"] for file in job["files"]}
    answer = client.post(f"/jobs/{job['id']}:publish")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "PUBLISHING_OFF")


@pytest.mark.parametrize(
    ("model", "rows", "suffix"), [("repurchase", 220, "csv"), ("game-revenue", 1_000, "parquet")]
)
def test_a_table_is_cleaned_and_made_to_features_without_training(
    gateway: Gateways, model: str, rows: int, suffix: str
) -> None:
    client = gateway()
    table = shop() if model == "repurchase" else users()
    content = table if suffix == "csv" else _to_parquet(table)
    media_type = "text/csv" if suffix == "csv" else "application/vnd.apache.parquet"
    answer = client.post(
        "/jobs",
        params={"model": model, "kind": "features"},
        content=content,
        headers={"Content-Type": media_type},
    )
    assert answer.status_code == 202, answer.text
    job = wait_for_end(client, answer.json()["job"])
    assert (job["state"], job["error"]) == ("succeeded", None), job
    assert job["file"] == f"data.{suffix}"
    assert job["result"]["rows"] == rows
    assert job["result"]["cleaning"][0]["name"] in ("customer", "duplicates")
    assert job["result"]["cleaning"][0]["rows_taken"] == 0
    assert {file["name"] for file in job["files"]} == {"cleaning.json", "features.parquet", "log.txt"}
    features = pd.read_parquet(io.BytesIO(_download(client, job["id"], "features.parquet")))
    assert len(features) == rows
    answer = client.post(f"/jobs/{job['id']}:publish")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "PUBLISHING_OFF")
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.get(f"/jobs/{job['id']}").status_code == 404


def _to_parquet(table: bytes) -> bytes:
    content: bytes = pd.read_csv(io.BytesIO(table)).to_parquet()
    return content


@pytest.mark.parametrize(
    ("model", "table", "message"),
    [
        ("repurchase", b"PK\x03\x04\0\0\0\0", "shop.csv has zero bytes"),
        ("repurchase", b"a,b\n1,2\n", "the table has no column customer, time, amount"),
        ("game-revenue", b"country\nPE\n", "the table has no column"),
        ("repurchase", b"customer,time,amount\n", "shop.csv has no rows"),
    ],
    ids=["binary", "other columns", "missing columns", "no rows"],
)
def test_the_tools_own_words_reach_the_client_without_folders(
    gateway: Gateways, folder: Path, model: str, table: bytes, message: str
) -> None:
    client = gateway()
    job = wait_for_end(client, submit(client, table, model=model, name="shop.csv"))
    assert job["state"] == "failed"
    assert job["error"]["reason"] == "TRAINING_REFUSED"
    assert job["error"]["message"].startswith(message)
    assert str(folder.parent) not in json.dumps(get(client, job))


def test_a_file_that_is_no_parquet_is_explained(gateway: Gateways) -> None:
    client = gateway()
    job = wait_for_end(client, submit(client, shop(), model="repurchase", name="shop.parquet"))
    assert job["error"]["reason"] == "TRAINING_REFUSED"
    assert job["error"]["message"].startswith("shop.parquet is not a table: ")
