"""The modules of the native generator's crate use each other one way only, and its items are its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.graphs import Layers, circles, upward_imports
from tests.architecture.rust_modules import RustModule, read_crate, uses

CRATE = Path(__file__).resolve().parents[2] / "clients" / "loadtest" / "native"
# From the interface to Python down to bytes.
LAYERS: Layers = (
    ("python",),
    ("run",),
    ("attack",),
    ("schedule", "shared", "lane", "connection"),
    ("grpc", "answers", "tally"),
    ("status", "settings"),
    ("http2", "socket"),
    ("tls",),
    ("histogram", "meter", "pacing", "protobuf", "timer"),
)
# The modules that call nghttp2, which is C.
UNSAFE = {"http2.callbacks", "http2.session"}
MAX_LINES = 500


@pytest.fixture(scope="module")
def crate() -> dict[str, RustModule]:
    return read_crate(CRATE / "src")


def test_modules_use_each_other_only_downwards(crate: dict[str, RustModule]) -> None:
    wrong = upward_imports(uses(crate), LAYERS)
    assert not wrong, "\n".join(wrong)


def test_no_modules_use_each_other_in_a_circle(crate: dict[str, RustModule]) -> None:
    found = circles(uses(crate))
    assert not found, "\n".join(map(" <-> ".join, found))


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(CRATE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (CRATE / "src").rglob("*.rs")
    }
    assert len(lengths) > 15
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_items_are_for_the_crate_alone(crate: dict[str, RustModule]) -> None:
    assert {name: module.public for name, module in crate.items() if module.public} == {}


def test_only_modules_that_call_c_are_unsafe(crate: dict[str, RustModule]) -> None:
    assert {name for name, module in crate.items() if module.has_unsafe} == UNSAFE
