"""Reads which modules of a Rust crate use which others, and what each declares as public.

The source is read as text, without a compiler. Comments and literals are blanked
first, and everything under `#[cfg(test)]`. Then these count as a use:

- every path of a `use` declaration, wherever the declaration stands;
- every other path that begins with `crate`, `self`, `super` or the name of a
  module that the same file declares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

# Stands for lib.rs.
ROOT_MODULE = "lib"

_LITERAL_OR_COMMENT = re.compile(
    r"""
      //[^\n]*
    | (?P<block>/\*)
    | (?<!\w)[bc]?r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes)
    | "(?:\\(?:.|\n)|[^"\\])*"
    | '(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'\n])'
    """,
    re.VERBOSE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_TEST_ATTRIBUTE = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?P<item>(?:pub(?:\([^)]*\))?\s+)?\w+)")
_CHILD = re.compile(r"\bmod\s+(\w+)\s*;")
_USE = re.compile(r"\buse\s+([^;]+);")
_PATH = re.compile(r"(?<![\w:])(\w+(?:\s*::\s*\w+)+)")
_UNSAFE = re.compile(r"\bunsafe\b")
_PUBLIC = re.compile(
    r"\bpub\s+(?:(?:const|async|unsafe|extern)\s+)*"
    r"(?P<kind>fn|struct|enum|union|trait|type|const|static|mod|use)\s+(?P<name>[^\s<({=:;]+(?:::[^\s;]+)*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RustModule:
    """One module of a crate.

    Attributes:
        path: its file.
        uses: the modules of the crate that it uses, other than itself.
        public: the items that it declares as `pub` for everyone, by name.
        has_unsafe: whether the keyword `unsafe` is in it.
    """

    path: Path
    uses: frozenset[str]
    public: frozenset[str]
    has_unsafe: bool


def read_crate(source: Path) -> dict[str, RustModule]:
    """The modules of the crate whose lib.rs is in a folder, without its tests: `transport.http2`."""
    files = dict(_files(source / "lib.rs", ()))
    texts = {name: _without_tests(_blanked(path.read_text(encoding="utf-8"))) for name, path in files.items()}
    return {
        name: RustModule(
            path=files[name],
            uses=frozenset(_uses(name, text, files.keys()) - {name}),
            public=frozenset(_public(text)),
            has_unsafe=_UNSAFE.search(text) is not None,
        )
        for name, text in texts.items()
    }


def _files(path: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """A module and all modules below it, by name."""
    yield ".".join(parts) or ROOT_MODULE, path
    text = _without_tests(_blanked(path.read_text(encoding="utf-8")))
    folder = path.parent if path.name in {"lib.rs", "mod.rs"} else path.with_suffix("")
    for name in _CHILD.findall(text):
        child = folder / f"{name}.rs"
        yield from _files(child if child.exists() else folder / name / "mod.rs", (*parts, name))


def _blanked(text: str) -> str:
    """The text with comments and literals replaced by spaces, so that line numbers stay."""
    pieces, end = [], 0
    while (match := _LITERAL_OR_COMMENT.search(text, end)) is not None:
        stop = _block_end(text, match.end()) if match["block"] else match.end()
        pieces += [text[end : match.start()], re.sub(r"[^\n]", " ", text[match.start() : stop])]
        end = stop
    return "".join([*pieces, text[end:]])


def _block_end(text: str, begin: int) -> int:
    """The end of a block comment that was opened before `begin`; block comments nest."""
    depth = 1
    for edge in _BLOCK_EDGE.finditer(text, begin):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return len(text)


def _without_tests(text: str) -> str:
    """Blanked text without the items under `#[cfg(test)]`."""
    pieces, end = [], 0
    while (match := _TEST_ATTRIBUTE.search(text, end)) is not None:
        pieces.append(text[end : match.start()])
        end = _item_end(text, match.start("item"), match["item"].split()[-1])
    return "".join([*pieces, text[end:]])


def _item_end(text: str, begin: int, keyword: str) -> int:
    """The end of an item: its semicolon, or the end of its body."""
    depth = 0
    for place in range(begin, len(text)):
        if text[place] in "([{":
            depth += 1
        elif text[place] in ")]}":
            depth -= 1
            if not depth and text[place] == "}" and keyword not in {"use", "const", "static", "type"}:
                return place + 1
        elif text[place] == ";" and not depth:
            return place + 1
    return len(text)


def _uses(name: str, text: str, names: Set[str]) -> set[str]:
    here = () if name == ROOT_MODULE else tuple(name.split("."))
    children = set(_CHILD.findall(text))
    paths = [path for tree in _USE.findall(text) for path in _expanded(tree)]
    paths += [tuple(re.split(r"\s*::\s*", path)) for path in _PATH.findall(_USE.sub("", text))]
    found = set()
    for path in paths:
        absolute = _absolute(path, here, children)
        if absolute is not None:
            known = (".".join(absolute[:length]) for length in range(len(absolute), 0, -1))
            found.add(next((module for module in known if module in names), ROOT_MODULE))
    return found


def _expanded(tree: str) -> Iterator[tuple[str, ...]]:
    """The paths of a use declaration: `a::{b, c::d as e}` has a::b and a::c::d."""
    head, brace, rest = tree.partition("{")
    prefix = tuple(part for part in re.split(r"\s*::\s*", head.split(" as ")[0].strip()) if part)
    if not brace:
        yield prefix
        return
    depth, begin = 0, 0
    body = rest[: rest.rindex("}")]
    for place, letter in enumerate(f"{body},"):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            if body[begin:place].strip():
                yield from ((*prefix, *path) for path in _expanded(body[begin:place]))
            begin = place + 1


def _absolute(path: tuple[str, ...], here: tuple[str, ...], children: Set[str]) -> tuple[str, ...] | None:
    """The path from the crate's root; None where it leads out of the crate."""
    first, *rest = path
    if first == "crate":
        return tuple(rest)
    if first in children:
        return (*here, *path)
    if first not in {"self", "super"}:
        return None
    base = here
    while path and path[0] in {"self", "super"}:
        base = base[:-1] if path[0] == "super" else base
        path = path[1:]
    return (*base, *path)


def _public(text: str) -> Iterator[str]:
    """The items that a module declares as `pub` without a scope, at the top level."""
    depth, end = 0, 0
    for match in _PUBLIC.finditer(text):
        between = text[end : match.start()]
        depth += between.count("{") - between.count("}")
        end = match.start()
        if not depth and match["kind"] == "use":
            tree = text[match.start("name") : text.index(";", end)]
            yield from ("::".join(path) for path in _expanded(tree))
        elif not depth:
            yield match["name"]


def uses(crate: Mapping[str, RustModule]) -> dict[str, frozenset[str]]:
    """The graph of a crate's modules, without lib.rs, which declares them all."""
    return {name: module.uses for name, module in crate.items() if name != ROOT_MODULE}
