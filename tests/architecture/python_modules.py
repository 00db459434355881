"""Reads which modules of a Python package import which others of the package.

Every import counts: absolute and relative ones, those within functions, and
those for type checkers only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from pathlib import Path

# Stands for the package's own __init__.
ROOT_MODULE = "__init__"


def read_package(folder: Path) -> dict[str, set[str]]:
    """The graph of a package's modules, named without the package: `export.graph`.

    A sub-package's `__init__` has the name of the sub-package, and the package's
    own is `__init__`.
    """
    paths = {_name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
    return {
        name: {
            found
            for imported in _imports(path, folder)
            if (found := _module(imported, folder.name, paths.keys())) not in (None, name)
        }
        for name, path in paths.items()
    }


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or ROOT_MODULE


def _imports(path: Path, folder: Path) -> Iterator[str]:
    """The absolute dotted names that a module imports."""
    package = (folder.name, *path.relative_to(folder).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _module(imported: str, package: str, names: Set[str]) -> str | None:
    """The module that defines an imported name; None for a name of another package."""
    first, *parts = imported.split(".")
    if first != package:
        return None
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in candidates if name in names), ROOT_MODULE)
