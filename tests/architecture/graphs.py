"""Checks of import graphs, for any language.

A graph maps the dotted name of each module to the modules that it imports.
Layers are rows of entries, from the top of a program to its bottom; an entry is a
folder or a module.

- A module belongs to the longest entry that is its own name or a folder above it.
- A module may import modules of its own entry, and of entries in the rows below.
  It may not import another entry of its own row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import TypeAlias

Graph: TypeAlias = Mapping[str, Set[str]]
Layers: TypeAlias = tuple[tuple[str, ...], ...]


def upward_imports(graph: Graph, layers: Layers) -> list[str]:
    """The imports that the layers forbid, and the modules that belong to no entry, as sentences."""
    rows = {entry: row for row, entries in enumerate(layers) for entry in entries}
    wrong = [f"{module} belongs to no layer" for module in graph if _entry(module, rows) is None]
    for module, imported in edges(graph):
        above, below = _entry(module, rows), _entry(imported, rows)
        if above is None or below is None or above == below:
            continue
        if rows[above] >= rows[below]:
            wrong.append(f"{module} imports {imported}: {above} may not use {below}")
    return wrong


def circles(graph: Graph) -> list[list[str]]:
    """The groups of two modules or more that import each other, directly or through others."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        """Tarjan's algorithm for strongly connected components."""
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for imported in sorted(graph.get(module, ())):
            if imported not in index:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], index[imported])
        if lowest[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return sorted(found)


def edges(graph: Graph) -> Iterator[tuple[str, str]]:
    """Each import as a pair: who imports, and what."""
    for module, imports in sorted(graph.items()):
        for imported in sorted(imports):
            yield module, imported


def _entry(module: str, rows: Mapping[str, int]) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in rows), None)
