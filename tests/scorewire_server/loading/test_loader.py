from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from scorewire_contract import bundle as contract
from scorewire_contract.bundle import Bundle
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.repository import BundleFolder, scan
from scorewire_server.engine.reference.session import open_session
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loading.loader import load
from scorewire_server.loading.microbatching import MAX_SHARED_ROWS
from tests import bundles

OPEN = partial(open_session, threads=1)


def _load(models: Path) -> VersionRecord:
    (folder,) = scan(models)
    return load(folder, OPEN)


def _rewrite(path: Path, change: Callable[[manifest_pb2.Manifest, dict[str, bytes]], None]) -> None:
    """Write a bundle again with changed contents and matching checksums."""
    bundle = contract.read_bundle(path)
    manifest = bundle.manifest
    files = {contract.GRAPH: bundle.graph, contract.GOLDEN: contract.to_json(bundle.golden)}
    change(manifest, files)
    shutil.rmtree(path)
    contract.write_bundle(path.parents[1], manifest, files)


@pytest.mark.parametrize(
    "write", [bundles.write_sum_bundle, bundles.write_classifier_bundle, bundles.write_greeting_bundle]
)
def test_a_sound_bundle_serves(models: Path, write: Callable[[Path], Path]) -> None:
    write(models)
    record = _load(models)
    assert record.state == models_pb2.VERSION_STATE_SERVING
    assert record.reason == ""
    assert record.serving_since is not None
    assert record.loaded is not None
    assert record.loaded.row_ns > 0
    assert record.loaded.max_shared_rows in (1, MAX_SHARED_ROWS)
    assert record.loaded.fingerprint == record.loaded.manifest.schema.fingerprint


def test_a_loaded_version_scores(models: Path) -> None:
    bundles.write_sum_bundle(models)
    loaded = _load(models).loaded
    assert loaded is not None
    scores = loaded.scorer.score(1, np.array([1.0, 2.0]), ["pe"])
    assert scores.outputs[0].tolist() == [[bundles.expected_value([1.0, 2.0], "pe")]]


def _flip_golden(path: Path) -> None:
    content = bytearray((path / "golden.json").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "golden.json").write_bytes(content)


def _symlink_graph(path: Path) -> None:
    target = path.parents[2] / "model.onnx"
    (path / "model.onnx").rename(target)
    (path / "model.onnx").symlink_to(target)


def _replace_manifest(path: Path, text: bytes) -> None:
    (path / "manifest.json").write_bytes(text)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda path: (path / "golden.json").unlink(), "golden.json is missing"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "extra.bin").write_bytes(b""), "extra.bin is not in the manifest"),
        (_flip_golden, "golden.json differs"),
        (_symlink_graph, "cannot be opened"),
        (lambda path: os.link(path / "model.onnx", path.parents[2] / "second"), "a single link"),
        (lambda path: os.truncate(path / "model.onnx", 10), "model.onnx differs"),
        (lambda path: _replace_manifest(path, b"{"), "manifest.json does not fit the format"),
        (lambda path: _replace_manifest(path, b"{}"), "format 0"),
        (lambda path: _replace_manifest(path, b'{"formatVersion": 5}'), "format 5"),
        (lambda path: _replace_manifest(path, b"\xff\xfe"), "manifest.json does not fit the format"),
        (lambda path: ((path / "golden.json").unlink(), (path / "golden.json").mkdir()), "directory"),
    ],
)
def test_a_damaged_bundle_is_refused_with_the_reason(
    models: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(bundles.write_sum_bundle(models))
    record = _load(models)
    assert record.state == models_pb2.VERSION_STATE_REFUSED
    assert reason in record.reason
    assert record.loaded is None


def test_any_bit_that_flips_in_the_graph_is_found(models: Path) -> None:
    graph = bundles.write_sum_bundle(models) / "model.onnx"
    content = graph.read_bytes()
    chance = random.Random(1)
    for _ in range(20):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        graph.write_bytes(flipped)
        assert "model.onnx differs from its checksum" in _load(models).reason


def test_any_bit_that_flips_in_the_manifest_is_found_or_changes_no_score(models: Path) -> None:
    """No checksum covers the manifest; golden rows protect what it says about scores."""
    path = bundles.write_sum_bundle(models) / "manifest.json"
    content = path.read_bytes()
    chance = random.Random(2)
    refused = 0
    for _ in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        record = _load(models)
        if record.loaded is None:
            refused += 1
            assert record.reason
        else:
            scores = record.loaded.scorer.score(1, np.array([1.0, 2.0]), ["de"])
            assert scores.outputs[0].tolist() == [[4.0]]
    assert refused > 20


def test_wrong_scores_of_golden_rows_are_refused(models: Path) -> None:
    def change(manifest: manifest_pb2.Manifest, files: dict[str, bytes]) -> None:
        golden = json_format.Parse(files[contract.GOLDEN], manifest_pb2.Golden())
        golden.expected.outputs[0].numbers[0] += 1e-6
        files[contract.GOLDEN] = contract.to_json(golden)

    _rewrite(bundles.write_sum_bundle(models), change)
    assert "golden row 0" in _load(models).reason


def test_a_bundle_without_golden_rows_is_refused(models: Path) -> None:
    def change(manifest: manifest_pb2.Manifest, files: dict[str, bytes]) -> None:
        files[contract.GOLDEN] = b"{}"

    _rewrite(bundles.write_sum_bundle(models), change)
    assert "golden rows do not fit" in _load(models).reason


def test_a_graph_that_breaks_a_rule_is_refused(models: Path) -> None:
    def change(manifest: manifest_pb2.Manifest, files: dict[str, bytes]) -> None:
        # An opset import of a domain of the bundle's own making.
        files[contract.GRAPH] += b"\x42\x08\x0a\x04mine\x10\x01"

    _rewrite(bundles.write_sum_bundle(models), change)
    assert "'mine'" in _load(models).reason


def test_a_coding_that_contradicts_the_schema_is_refused(models: Path) -> None:
    def change(manifest: manifest_pb2.Manifest, files: dict[str, bytes]) -> None:
        manifest.coding.inputs[0].columns[0].number = 7

    _rewrite(bundles.write_sum_bundle(models), change)
    assert "number feature that is not there" in _load(models).reason


def test_a_graph_that_the_runtime_does_not_take_is_refused(models: Path) -> None:
    def change(manifest: manifest_pb2.Manifest, files: dict[str, bytes]) -> None:
        files[contract.GRAPH] = files[contract.GRAPH].replace(b"IsNaN", b"IsNoN")

    _rewrite(bundles.write_sum_bundle(models), change)
    record = _load(models)
    assert record.state == models_pb2.VERSION_STATE_REFUSED
    assert "IsNoN" in record.reason


def test_a_folder_that_cannot_be_read_is_refused(models: Path, sum_bundle: Bundle) -> None:
    (models / "sum").mkdir()
    (models / "sum" / "1.0.0").write_text("a file")
    record = load(BundleFolder(models / "sum" / "1.0.0", "sum", "1.0.0"), OPEN)
    assert record.reason == "it is not a folder"


def test_a_graph_for_which_memory_runs_out_is_refused_with_its_size(models: Path) -> None:
    path = bundles.write_sum_bundle(models)
    size = len(contract.read_bundle(path).graph)
    (folder,) = scan(models)

    def no_memory(_: bytes) -> Any:
        raise MemoryError("std::bad_alloc")

    assert load(folder, no_memory).reason == (
        f"memory ran out: its graph of {size} bytes cannot be loaded: MemoryError: std::bad_alloc;"
        " allow it more memory, or train a smaller model"
    )
