"""The folders of the native crate use each other one way only, and its items are for the crate alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.graphs import Layers, circles, edges, upward_imports
from tests.architecture.rust_modules import RustModule, read_crate, uses

CRATE = Path(__file__).resolve().parents[2] / "server" / "native"
# From the interface to Python down to bytes.
LAYERS: Layers = (
    ("python", "fuzzing"),
    ("server",),
    ("calls",),
    ("predict",),
    ("bridge",),
    ("transport", "routing"),
    ("encodings",),
    ("rows",),
    ("statistics",),
    ("protocol", "onnx"),
)
# The only layer below the transport that it may use, because it knows nothing of models.
BELOW_TRANSPORT = {"protocol"}
# What the fuzz targets call. Everything else is for the crate alone, so that the compiler finds dead code.
PUBLIC = {"fuzzing", "fuzzing.decode", "fuzzing.session"}
# The modules that call C: onnxruntime and nghttp2.
UNSAFE = {
    *("onnx.binding", "onnx.library", "onnx.session", "onnx.tensor"),
    *("transport.http2.callbacks", "transport.http2.fields", "transport.http2.session"),
}
MAX_LINES = 500


@pytest.fixture(scope="module")
def crate() -> dict[str, RustModule]:
    return read_crate(CRATE / "src")


def test_folders_use_each_other_only_downwards(crate: dict[str, RustModule]) -> None:
    wrong = upward_imports(uses(crate), LAYERS)
    assert not wrong, "\n".join(wrong)


def test_the_transport_knows_nothing_of_models(crate: dict[str, RustModule]) -> None:
    wrong = [
        f"{module} uses {used}"
        for module, used in edges(uses(crate))
        if module.split(".")[0] == "transport" and used.split(".")[0] not in {"transport", *BELOW_TRANSPORT}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_use_each_other_in_a_circle(crate: dict[str, RustModule]) -> None:
    found = circles(uses(crate))
    assert not found, "\n".join(map(" <-> ".join, found))


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(CRATE)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "examples", "fuzz/fuzz_targets")
        for path in (CRATE / folder).rglob("*.rs")
    }
    assert len(lengths) > 40
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_items_are_for_the_crate_alone(crate: dict[str, RustModule]) -> None:
    public = {
        item if name == "lib" else f"{name}.{item}"
        for name, module in crate.items()
        for item in module.public
    }
    assert not public - PUBLIC, "\n".join(sorted(public - PUBLIC))
    assert not PUBLIC - public, "\n".join(sorted(PUBLIC - public))


def test_only_modules_that_call_c_are_unsafe(crate: dict[str, RustModule]) -> None:
    assert {name for name, module in crate.items() if module.has_unsafe} == UNSAFE
