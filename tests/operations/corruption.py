"""Damages a good bundle in many ways; none of the results may serve."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from scorewire_contract.bundle import GOLDEN, GRAPH, MANIFEST, MAX_FILE_BYTES

# A function that damages the bundle in a folder.
Damage = Callable[[Path], None]


def damages() -> Iterator[tuple[str, Damage]]:
    """Fifty ways to damage a bundle, by name."""
    for name, places in ((GRAPH, 15), (GOLDEN, 8)):
        for place in range(places):
            yield f"bit flip {place} in {name}", _flip(name, place / places)
    for name in (MANIFEST, GRAPH, GOLDEN):
        yield f"{name} is missing", lambda path, name=name: (path / name).unlink()  # type: ignore[misc] # its own name
        yield f"{name} is empty", lambda path, name=name: (path / name).write_bytes(b"")  # type: ignore[misc,return-value]
        yield f"{name} is cut", _cut(name)
        yield f"{name} has another hard link", _hard_link(name)
    yield "model.onnx is a link", _link
    yield "a file that is not listed", lambda path: (path / "notes.txt").write_text("x") and None
    for field, value in (("formatVersion", 99), ("model", "other"), ("version", "9.9.9"), ("model", "../up")):
        yield f"{field} is {value}", _edit(lambda told, field=field, value=value: told.update({field: value}))  # type: ignore[misc]
    yield "the checksum is another's", _edit(lambda told: told["files"][0].update(sha256="0" * 64))
    yield "the schema has another feature", _edit(_rename_feature)
    yield "the coding has a column of no feature", _edit(_wrong_column)
    yield "an output of another width", _edit(lambda told: told["schema"]["outputs"][0].update(width=7))
    yield "golden scores are others", _resigned(GOLDEN, _wrong_golden)
    yield "golden rows are others", _resigned(GOLDEN, _other_rows)
    yield "the graph is no graph", _resigned(GRAPH, lambda content: b"\x00" * len(content))
    yield "the graph has external data", _resigned(GRAPH, _external)
    yield "the graph has a foreign domain", _resigned(GRAPH, _foreign)
    yield "the graph is larger than a bundle may be", _oversize


def _flip(name: str, share: float) -> Damage:
    def damage(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[int(share * len(content))] ^= 0x10
        (path / name).write_bytes(content)

    return damage


def _cut(name: str) -> Damage:
    def damage(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2])

    return damage


def _hard_link(name: str) -> Damage:
    return lambda path: os.link(path / name, path.parent / f".{name}.{path.name}")


def _link(path: Path) -> None:
    (path / GRAPH).rename(path.parent / f".moved.{path.name}")
    (path / GRAPH).symlink_to(path.parent / f".moved.{path.name}")


def _edit(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(path: Path) -> None:
        told = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        change(told)
        (path / MANIFEST).write_text(json.dumps(told), encoding="utf-8")

    return damage


def _resigned(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """Change a file, and update the manifest's checksum."""

    def damage(path: Path) -> None:
        content = change((path / name).read_bytes())
        (path / name).write_bytes(content)
        _sign(path, name, len(content), hashlib.sha256(content).hexdigest())

    return damage


def _sign(path: Path, name: str, size: int, sha256: str) -> None:
    def change(told: dict[str, Any]) -> None:
        (file,) = [file for file in told["files"] if file["name"] == name]
        file.update(sha256=sha256, sizeBytes=str(size))

    _edit(change)(path)


def _oversize(path: Path) -> None:
    with (path / GRAPH).open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    _sign(path, GRAPH, MAX_FILE_BYTES + 1, "0" * 64)


def _rename_feature(told: dict[str, Any]) -> None:
    told["schema"]["features"][0]["name"] = "another"


def _wrong_column(told: dict[str, Any]) -> None:
    told["coding"]["inputs"][0]["columns"][0]["number"] = 99


def _wrong_golden(content: bytes) -> bytes:
    told = json.loads(content)
    told["expected"]["outputs"][0]["numbers"][0] += 0.5
    return json.dumps(told).encode()


def _other_rows(content: bytes) -> bytes:
    told = json.loads(content)
    told["rows"]["numbers"] = told["rows"]["numbers"][::-1]
    return json.dumps(told).encode()


def _external(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(onnx.helper.make_tensor("outside", onnx.TensorProto.FLOAT, [1], [1.0]))
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model.SerializeToString()


def _foreign(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    model.graph.node[0].domain = "com.example"
    return model.SerializeToString()
