"""A server with hostile bundles starts, reports each of them, and serves the good ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scorewire import Client, ScorewireError, VersionState
from scorewire_contract.bundle import MANIFEST
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.hostile import VERSIONS, Hostile, hostile_bundles
from tests.processes import ServerProcess, serving

# Only some of all hostile bundles, so that their loads take seconds.
EVERY = 15
LONGEST_NAME = 255


def _fits_a_folder(name: object) -> bool:
    fits = isinstance(name, str) and name.isprintable() and "/" not in name and not name.startswith(".")
    return fits and 0 < len(str(name).encode()) <= LONGEST_NAME


def _place(models: Path, hostile: Hostile, number: int) -> None:
    """Write a bundle to the folder that its manifest names, or to the folder that it should name."""
    told = json.loads(hostile.files[MANIFEST])
    if told.get("version") == "1.0.0":
        # Other bundles may have the same folder.
        told["version"] = f"7.{number}.0"
    model = told["model"] if _fits_a_folder(told.get("model")) else "sum"
    version = told["version"] if _fits_a_folder(told.get("version")) else f"8.{number}.0"
    files = {**hostile.files, MANIFEST: json.dumps(told).encode()}
    if not (models / model / version).exists():
        hostile._replace(files=files).write(models / model / version)


def _check(server: ServerProcess) -> int:
    """Check that every version serves or has a reason; returns how many are refused."""
    refused = 0
    with Client(server.address) as client:
        row = {"x0": 1.0, "x1": 2.0, "country": "de"}
        assert client.predict("healthy", row).score == expected_value([1.0, 2.0], "de")
        for model in client.models():
            for version in model.versions:
                assert version.state in (VersionState.SERVING, VersionState.REFUSED), (model.name, version)
                assert version.reason or version.state == VersionState.SERVING, (model.name, version)
                refused += version.state == VersionState.REFUSED
    assert server.metrics()["scorewire_versions", _labels("healthy", "1.0.0", "SERVING")] == 1
    return refused


def _labels(model: str, version: str, state: str) -> frozenset[tuple[str, str]]:
    return frozenset({"model": model, "version": version, "state": state}.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_serves_on_among_hostile_bundles_and_after_a_restart(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    write_sum_bundle(models, model="healthy")
    chosen = [
        each
        for number, each in enumerate(hostile_bundles(tmp_path / "sound"))
        if number % EVERY == 0 or each.version in VERSIONS
    ]
    for number, hostile in enumerate(chosen):
        _place(models, hostile, number)
    # Names of folders that are not valid text.
    (models / "healthy" / os.fsdecode(b"2.0.0-\xff\n")).mkdir()
    (models / os.fsdecode(b"\x80\x1b[31m") / "1.0.0").mkdir(parents=True)
    for start in ("first", "second"):
        with serving(tmp_path / start, models, "--engine", engine, "--control", "on") as server:
            refused = _check(server)
            assert refused > 60
            assert server.metrics()["scorewire_versions", _labels("healthy", "2.0.0-\\udcff\\n", "REFUSED")]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_version_that_no_engine_holds_is_refused_while_others_answer(tmp_path: Path, engine: str) -> None:
    models, version = tmp_path / "models", "99999999999999999999999.0.0"
    write_sum_bundle(models, model="healthy")
    (hostile,) = (
        each
        for each in hostile_bundles(tmp_path / "sound")
        if each.version == version and each.what.startswith("sum:")
    )
    with serving(tmp_path, models, "--engine", engine, "--watch", "off") as server:
        hostile.write(models / "sum" / version)
        with Client(server.address) as client, pytest.raises(ScorewireError, match="number above"):
            client.load_version("sum", version)
        assert _check(server) == 1
