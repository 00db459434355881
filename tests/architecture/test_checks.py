"""The checks of the architecture find violations in small trees that are made for the purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.graphs import Graph, circles, upward_imports
from tests.architecture.python_modules import read_package
from tests.architecture.rust_modules import read_crate, uses


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_imports_to_rows_below_and_within_an_entry_are_allowed() -> None:
    graph: Graph = {
        "cli": {"core.a", "errors"},
        "core.a": {"core.b", "errors"},
        "core.b": set(),
        "errors": set(),
    }
    assert upward_imports(graph, (("cli",), ("core",), ("errors",))) == []


@pytest.mark.parametrize("layers", [(("core",), ("cli",)), (("cli", "core"),)], ids=["above", "beside"])
def test_imports_to_rows_above_and_beside_are_told(layers: tuple[tuple[str, ...], ...]) -> None:
    (told,) = upward_imports({"cli": {"core.a"}, "core.a": set()}, layers)
    assert told == "cli imports core.a: cli may not use core"


def test_a_module_may_stand_elsewhere_than_its_folder() -> None:
    graph: Graph = {"engine": {"core.base"}, "core.top": {"engine"}, "core.base": set()}
    assert upward_imports(graph, (("core",), ("engine",), ("core.base",))) == []


def test_a_module_of_no_layer_is_told() -> None:
    assert upward_imports({"new": set()}, (("old",),)) == ["new belongs to no layer"]


def test_circles_of_any_length_are_found() -> None:
    graph: Graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a", "f"}}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_of_python_are_read(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from shop.api import order\n",
        "api.py": "import os, shop.core.stock\nfrom shop import errors\nfrom shop.core import Stock, price\n",
        "errors.py": "class OrderError(Exception): ...\n",
        "core/__init__.py": "from shop.core.stock import Stock as Stock\n",
        "core/stock.py": "from . import price\nfrom ..errors import OrderError\n",
        "core/price.py": "def total():\n    from shop.errors import OrderError\n    import shopping.list\n",
    }
    assert read_package(write(tmp_path / "shop", files)) == {
        "__init__": {"api"},
        "api": {"core", "core.price", "core.stock", "errors"},
        "errors": set(),
        "core": {"core.stock"},
        "core.stock": {"core.price", "errors"},
        "core.price": {"errors"},
    }


LIB = """
//! use crate::nothing;
pub mod api;
mod core;
#[cfg(test)]
mod tests;
"""
API = """
use std::sync::Arc;
/* use crate::core::price; /* nested */ use crate::core::price; */
use crate::core::{self, stock::{Item, Stock as Shelf}};

pub struct Order<'a> { pub item: &'a Item }
pub(crate) fn order(name: &'static str) { let _ = ('"', '\\'', b"crate::core::price"); }
static RAW: &str = r#"crate::core"price"#;
impl Order<'_> { pub fn total(&self) -> u32 { unsafe { 0 } } }
pub const fn zero() -> u32 { 0 }
"""
STOCK = """
mod shelf;
pub(crate) use self::shelf::Shelf;

pub(super) fn count() -> u32 { super::price::total() + crate::core::rounding::up(1) }

#[cfg(test)]
pub(crate) mod made { use crate::api::Order; pub fn order() {} }

#[cfg(test)]
use crate::api::{Order, zero};
#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Order;
    fn unsafe_total() { unsafe { crate::api::zero() }; }
}
pub(crate) struct Item;
"""


def test_uses_and_public_items_of_rust_are_read(tmp_path: Path) -> None:
    files = {
        "lib.rs": LIB,
        "api.rs": API,
        "core/mod.rs": "pub(crate) mod stock;\nmod price;\nmod rounding;\nfn all() { stock::count(); }\n",
        "core/stock.rs": STOCK,
        "core/stock/shelf.rs": "pub(crate) struct Shelf;\n",
        "core/price.rs": "pub(super) fn total() -> u32 { 1 }\n// unsafe\n",
        "core/rounding.rs": "pub(crate) fn up(n: u32) -> u32 { n }\n",
        "tests.rs": "use crate::api::Order;\n",
    }
    crate = read_crate(write(tmp_path, files))
    assert uses(crate) == {
        "api": {"core", "core.stock"},
        "core": {"core.stock"},
        "core.stock": {"core.price", "core.rounding", "core.stock.shelf"},
        "core.stock.shelf": set(),
        "core.price": set(),
        "core.rounding": set(),
    }
    assert {name: module.public for name, module in crate.items() if module.public} == {
        "lib": {"api"},
        "api": {"Order", "zero"},
    }
    assert [name for name, module in crate.items() if module.has_unsafe] == ["api"]
