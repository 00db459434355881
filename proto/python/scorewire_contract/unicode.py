"""Characters as one version of Unicode has them, whichever the Python here has.

A model's words depend on the Unicode of the Python that it was fitted in: a character that a later
version adds is a letter there and no part of any word before. `unicode.txt` has what the coding of
words asks of characters, for each version since that of Python 3.11; proto/generate_unicode.py writes it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

Ranges = tuple[tuple[int, int], ...]

_HANGUL = range(0xAC00, 0xD7A4)


@dataclass(frozen=True, slots=True)
class Characters:
    r"""What a version of Unicode says of characters.

    `word` are the ranges of those that Python's `\w` matches. `lower` and `stripped` are for
    `str.translate`: small letters, and what is left without accents and marks.
    """

    word: Ranges
    stripped: dict[int, str]
    _lower: dict[int, str]
    _final_sigma: re.Pattern[str]

    def lower(self, text: str) -> str:
        """`str.lower`."""
        if "Σ" in text:
            text = self._final_sigma.sub(r"\1ς", text)
        return text.translate(self._lower)


def versions() -> tuple[str, ...]:
    """The versions of Unicode that are known, oldest first."""
    return tuple(dict.fromkeys(version for _, version, _ in _lines()))


@cache
def characters(version: str) -> Characters:
    """Characters as a version of Unicode has them.

    Raises:
        ValueError: the version is not known.
    """
    known = versions()
    if version not in known:
        raise ValueError(f"words are cut by Unicode {version!r}, and known are {', '.join(known)}")
    upto = known[: known.index(version) + 1]
    sets: dict[str, list[tuple[int, int]]] = {"word": [], "cased": [], "ignorable": []}
    maps: dict[str, dict[int, str]] = {"lower": {}, "stripped": {}}
    for kind, since, entries in _lines():
        if since not in upto:
            continue
        for entry in entries:
            span, _, to = entry.partition(">")
            first, _, last = span.partition("-")
            bounds = int(first, 16), int(last or first, 16)
            if kind in sets:
                sets[kind].append(bounds)
            else:
                maps[kind].update(_run(*bounds, [int(c, 16) for c in to.split("+") if c]))
    for code in _HANGUL:
        maps["stripped"][code] = unicodedata.normalize("NFKD", chr(code))
    cased, ignorable = (character_class(tuple(sets[kind])) for kind in ("cased", "ignorable"))
    # The last letter of a word: behind one that has case, and not before one.
    final = re.compile(f"([{cased}][{ignorable}]*)Σ(?![{ignorable}]*[{cased}])")
    return Characters(tuple(sets["word"]), maps["stripped"], maps["lower"], final)


def character_class(ranges: Ranges) -> str:
    """The inside of a regular expression's `[...]` for ranges of characters."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _run(first: int, last: int, to: list[int]) -> Iterator[tuple[int, str]]:
    start, end = "".join(map(chr, to[:-1])), to[-1:]
    for code in range(first, last + 1):
        yield code, start + "".join(chr(c + code - first) for c in end)


@cache
def _lines() -> list[tuple[str, str, list[str]]]:
    """Kind, version and entries of each line of the file."""
    text = (files(__package__) / "unicode.txt").read_text(encoding="ascii")
    split = (line.split(" ") for line in text.splitlines())
    return [(kind, version, entries) for kind, version, *entries in split]
