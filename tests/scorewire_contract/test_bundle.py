from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scorewire_contract.bundle import BundleError, read_bundle, read_manifest, write_bundle
from scorewire_proto.bundle.v1 import manifest_pb2
from tests.bundles import write_classifier_bundle, write_sum_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_sum_bundle(tmp_path / "models")


def test_a_written_bundle_reads_back(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert (read.model, str(read.version), read.path) == ("sum", "1.0.0", bundle)
    assert read.golden.rows.row_count == 19
    assert sorted(entry.name for entry in bundle.iterdir()) == ["golden.json", "manifest.json", "model.onnx"]


def test_a_bundle_of_the_first_format_reads(bundle: Path) -> None:
    read = read_bundle(Path(__file__).parent / "bundles" / "format-1")
    assert read.manifest.format_version == 1
    assert read.golden == read_bundle(bundle).golden
    # A bundle that needs no newer format is still written in format 1.
    assert read_manifest(bundle).format_version == 1


def test_a_bundle_of_the_second_format_reads() -> None:
    read = read_bundle(Path(__file__).parent / "bundles" / "format-2")
    assert read.manifest.format_version == 2
    assert len(read.manifest.coding.bags) == 1


def test_a_bundle_of_the_third_format_reads() -> None:
    read = read_bundle(Path(__file__).parent / "bundles" / "format-3")
    assert read.manifest.format_version == 3
    assert [feature.field_name for feature in read.manifest.schema.features] == ["x", "", ""]


def test_a_bundle_that_claims_equal_bits_has_the_fourth_format(tmp_path: Path, bundle: Path) -> None:
    manifest = read_manifest(bundle)
    manifest.version = "1.1.0"
    manifest.parity.exact = True
    files = {file.name: (bundle / file.name).read_bytes() for file in manifest.files}
    assert read_manifest(write_bundle(tmp_path / "models", manifest, files)).format_version == 4


def test_a_bundle_with_names_of_fields_has_the_third_format(tmp_path: Path, bundle: Path) -> None:
    manifest = read_manifest(bundle)
    manifest.version = "1.1.0"
    manifest.schema.features[0].field_name = "x"
    files = {file.name: (bundle / file.name).read_bytes() for file in manifest.files}
    written = read_manifest(write_bundle(tmp_path / "models", manifest, files))
    assert written.format_version == 3
    # Callers do not depend on the names.
    assert written.schema.fingerprint == read_manifest(bundle).schema.fingerprint


def test_writing_leaves_nothing_beside_the_bundle(bundle: Path) -> None:
    assert [entry.name for entry in bundle.parent.iterdir()] == ["1.0.0"]


def test_a_version_is_never_overwritten(tmp_path: Path, bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="choose another version"):
        write_sum_bundle(tmp_path / "models", offset=1)
    assert (bundle / "manifest.json").read_bytes() == before
    assert [entry.name for entry in bundle.parent.iterdir()] == ["1.0.0"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, bundle: Path) -> None:
    manifest = read_manifest(bundle)
    manifest.version = "2.0.0"
    with pytest.raises(BundleError, match=r"golden\.json"):
        write_bundle(tmp_path / "models", manifest, {"model.onnx": b"", "golden.json": b"{"})
    assert [entry.name for entry in bundle.parent.iterdir()] == ["1.0.0"]


def _edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _to_symlink(path: Path) -> None:
    elsewhere = path.parent.parent / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "bit flip in graph": (lambda b: _flip_bit(b / "model.onnx"), "checksum"),
    "bit flip in golden": (lambda b: _flip_bit(b / "golden.json"), "checksum"),
    "graph missing": (lambda b: (b / "model.onnx").unlink(), "model.onnx is missing"),
    "manifest missing": (lambda b: (b / "manifest.json").unlink(), "manifest.json is missing"),
    "file too many": (lambda b: (b / "x.pkl").touch(), "x.pkl is not in the manifest"),
    "folder too many": (lambda b: (b / "x").mkdir(), "x is not in the manifest"),
    "symlink": (lambda b: _to_symlink(b / "model.onnx"), "model.onnx cannot be opened"),
    "hard link": (lambda b: os.link(b / "model.onnx", b.parent / "other"), "a single link"),
    "fifo": (lambda b: _to_fifo(b / "golden.json"), "regular file"),
    "cut short": (lambda b: os.truncate(b / "model.onnx", 10), "checksum"),
    "manifest no JSON": (lambda b: (b / "manifest.json").write_text("{"), "does not fit the format"),
    "manifest no UTF-8": (lambda b: (b / "manifest.json").write_bytes(b"\xff"), "does not fit the format"),
    "manifest nested deep": (
        lambda b: (b / "manifest.json").write_text("[" * 100_000),
        "does not fit the format",
    ),
    "unknown field": (lambda b: _edit(b, lambda m: m.update(extra=1)), "does not fit the format"),
    "later format": (lambda b: _edit(b, lambda m: m.update(formatVersion=5)), "bundle format 5"),
    "later format with more in it": (
        lambda b: _edit(b, lambda m: m.update(formatVersion=5, novelty={"a": 1})),
        "bundle format 5 is not one that this release reads",
    ),
    "words in a format without them": (
        lambda b: _edit(b, lambda m: m["coding"].update(bags=[{"terms": ["a"]}])),
        "bundle format 1 has no counts of words",
    ),
    "names of fields in a format without them": (
        lambda b: _edit(b, lambda m: m["schema"]["features"][0].update(fieldName="a")),
        "bundle format 1 has no names of fields",
    ),
    "a claim of equal bits in a format without it": (
        lambda b: _edit(b, lambda m: m.update(parity={"exact": True})),
        "bundle format 1 has no claim of equal bits",
    ),
    "bad model name": (lambda b: _edit(b, lambda m: m.update(model="../x")), "model name"),
    "bad version": (lambda b: _edit(b, lambda m: m.update(version="one")), "semantic"),
    "no features": (lambda b: _edit(b, lambda m: m["schema"].pop("features")), "no features"),
    "path in file name": (lambda b: _edit(b, lambda m: m["files"][0].update(name="../golden.json")), "name"),
    "file listed twice": (lambda b: _edit(b, lambda m: m["files"].append(m["files"][0])), "the same name"),
    "schema changed": (
        lambda b: _edit(b, lambda m: m["schema"]["features"][0].update(name="y")),
        "fingerprint",
    ),
    "graph not listed": (
        lambda b: (_edit(b, lambda m: m["files"].pop(1)), (b / "model.onnx").unlink(), None)[2],
        "does not list model.onnx",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bundles_are_refused_with_the_reason(bundle: Path, damage: str) -> None:
    inflict, reason = DAMAGES[damage]
    inflict(bundle)
    with pytest.raises(BundleError, match=reason):
        read_bundle(bundle)


def test_a_link_to_a_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(bundle)
    with pytest.raises(BundleError, match="not a folder"):
        read_bundle(link)


def test_a_copied_bundle_reads(tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "models")
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert read_bundle(copy).manifest == read_bundle(bundle).manifest


def test_the_manifest_alone_reads_without_the_other_files(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    assert isinstance(read_manifest(bundle), manifest_pb2.Manifest)
