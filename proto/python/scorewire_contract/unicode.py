"""The properties of characters in a given version of Unicode, whatever version Python has here.

The words that a model counts depend on the Unicode version of the Python that it
was fitted in: a letter that a later version adds is not part of a word in earlier
ones. `unicode.txt` has the properties that the coding of words needs, for each
Unicode version since that of Python 3.11. proto/generate_unicode.py writes it.
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
    r"""The properties of characters in one version of Unicode.

    Attributes:
        word: the ranges of characters that Python's `\w` matches.
        stripped: a table for `str.translate` that removes accents and marks.
    """

    word: Ranges
    stripped: dict[int, str]
    _lower: dict[int, str]
    _final_sigma: re.Pattern[str]

    def lower(self, text: str) -> str:
        """Convert to lower case, as `str.lower` of that version does."""
        if "Σ" in text:
            text = self._final_sigma.sub(r"\1ς", text)
        return text.translate(self._lower)


def versions() -> tuple[str, ...]:
    """The known versions of Unicode, oldest first."""
    return tuple(dict.fromkeys(version for _, version, _ in _lines()))


@cache
def characters(version: str) -> Characters:
    """The properties of characters in a version of Unicode.

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
    # A sigma is final if it comes after a cased letter and not before one.
    final = re.compile(f"([{cased}][{ignorable}]*)Σ(?![{ignorable}]*[{cased}])")
    return Characters(tuple(sets["word"]), maps["stripped"], maps["lower"], final)


def character_class(ranges: Ranges) -> str:
    """The content of a `[...]` in a regular expression for ranges of characters."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _run(first: int, last: int, to: list[int]) -> Iterator[tuple[int, str]]:
    start, end = "".join(map(chr, to[:-1])), to[-1:]
    for code in range(first, last + 1):
        yield code, start + "".join(chr(c + code - first) for c in end)


@cache
def _lines() -> list[tuple[str, str, list[str]]]:
    """The kind, version and entries of each line of unicode.txt."""
    text = (files(__package__) / "unicode.txt").read_text(encoding="ascii")
    split = (line.split(" ") for line in text.splitlines())
    return [(kind, version, entries) for kind, version, *entries in split]
