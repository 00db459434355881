"""Reads the pages for people: their blocks of code, with lines and markers, their links and headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
_PATTERNS = ("*.md", "docs/**/*.md", "*/README.md", "*/*/README.md")
_NOT_OURS = ("build", "dist", "node_modules", "target", "tests")
PAGES = sorted(
    path
    for pattern in _PATTERNS
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") or part in _NOT_OURS for part in path.relative_to(ROOT).parts)
)
# Markers stand in a comment on a line of its own, right before the block.
_MARKER = re.compile(r"<!--\s*snippet (not run|fails|setup):\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: the word after the fence; "" if there is none.
        text: the lines of the block.
        line: the line of the page that has the first line of the text, from 1.
        marker: "not run", "fails", "setup" or "".
    """

    language: str
    text: str
    line: int
    marker: str = ""


def read_blocks(text: str) -> list[Block]:
    """The blocks of a page, in order. The code of a `setup` marker is a block, too.

    Raises:
        ValueError: a marker is not followed by a block, or has no reason.
    """
    blocks: list[Block] = []
    marker = ""
    for token in _tokens(text):
        assert token.map is not None
        line = token.map[0] + 1
        if token.type == "html_block":
            if marker:
                raise ValueError(f"line {line}: the marker before it has no block")
            for found in _MARKER.finditer(token.content):
                marker, rest = found[1], found[2]
                if not rest:
                    raise ValueError(f"line {line}: the marker gives no reason, or has no code")
                if marker == "setup":
                    first = line + token.content[: found.start(2)].count("\n")
                    blocks.append(Block("python", rest + "\n", first, "setup"))
                    marker = ""
        elif token.type == "fence":
            blocks.append(Block(token.info.strip(), token.content, line + 1, marker))
            marker = ""
        elif marker:
            raise ValueError(f"line {line}: the marker before it has no block")
    return blocks


def read_links(text: str) -> Iterator[tuple[str, int]]:
    """The targets of links and images, each with the line of its paragraph."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                target = child.attrs["href" if child.type == "link_open" else "src"]
                yield str(target), (token.map or [0])[0] + 1


def read_inline_code(text: str) -> Iterator[tuple[str, int]]:
    """The pieces of code in the text, each with the line of its paragraph."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content, (token.map or [0])[0] + 1


def read_tags(text: str) -> Iterator[tuple[str, int]]:
    """The HTML tags in the text, which hide what was meant literally, each with the line of its paragraph."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        for child in token.children or ():
            if child.type == "html_inline":
                yield child.content, (token.map or [0])[0] + 1


def read_anchors(text: str) -> set[str]:
    """The anchors of the headings, as code hosts make them."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    seen: Counter[str] = Counter()
    anchors = set()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(child.content for child in inline.children or ())
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return anchors


def _tokens(text: str) -> Iterator[Token]:
    """The blocks of a page at all levels, but not what belongs to a block."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        if token.map is not None and token.type != "inline":
            yield token
