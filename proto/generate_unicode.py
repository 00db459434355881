r"""Write `unicode.txt`, the properties of characters by Unicode version, with a copy for each engine.

The arguments are Python interpreters with different versions of Unicode. The
file has all properties of the oldest version, and for each later version what it
adds. A version that changes or removes a property of an older one is an error.

Each line has a kind, the Unicode version that adds it, and entries in hexadecimal:

- `word`, `cased`, `ignorable`: ranges of characters. Word characters are those of
  Python's `\w`. Cased and ignorable characters decide whether a sigma is final.
- `lower`, `stripped`: ranges of characters, each with the characters that the
  first one becomes in lower case, or without accents and marks. For the following
  characters of a range, the last of these counts up. Hangul syllables are left
  out; `scorewire_contract.unicode` computes them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
COPIES = (
    HERE / "python" / "scorewire_contract" / "unicode.txt",
    HERE.parent / "server" / "native" / "src" / "rows" / "words" / "unicode.txt",
)
_SETS = ("word", "cased", "ignorable")
_MAPS = ("lower", "stripped")

# Python does not expose these two properties. The case of a sigma next to a character shows them.
_ASK = r"""
import json, unicodedata
chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
final = lambda text: text.lower()[-1] == "\u03c2"
strip = lambda c: "".join(x for x in unicodedata.normalize("NFKD", c) if not unicodedata.combining(x))
lower = {ord(c): c.lower() for c in chars if c.lower() != c}
stripped = {ord(c): strip(c) for c in chars if not "\uac00" <= c <= "\ud7a3" and strip(c) != c}
print(json.dumps({
    "version": unicodedata.unidata_version,
    "word": [ord(c) for c in chars if c.isalnum() or c == "_"],
    "cased": [ord(c) for c in chars if final(c + "\u03a3")],
    "ignorable": [ord(c) for c in chars if final("A" + c + "\u03a3") and not final(c + "\u03a3")],
    "lower": [[c, [ord(x) for x in text]] for c, text in lower.items()],
    "stripped": [[c, [ord(x) for x in text]] for c, text in stripped.items()],
}))
"""


def main(interpreters: list[str]) -> None:
    """Ask the interpreters and write the copies.

    Raises:
        SystemExit: there are no interpreters, or a Unicode version changes a property of an older one.
    """
    told = [json.loads(subprocess.check_output([python, "-c", _ASK])) for python in interpreters]
    told.sort(key=lambda answer: [int(part) for part in answer["version"].split(".")])
    if not told:
        raise SystemExit("name interpreters of Python, such as python3.11 python3.12 python3.13")
    lines: list[str] = []
    known: dict[str, dict[int, tuple[int, ...]]] = {kind: {} for kind in (*_SETS, *_MAPS)}
    for answer in told:
        for kind, before in known.items():
            pairs = ((c, ()) for c in answer[kind]) if kind in _SETS else answer[kind]
            now = {c: tuple(to) for c, to in pairs}
            if any(now.get(c) != to for c, to in before.items()):
                raise SystemExit(f"Unicode {answer['version']} changes what an older one says of {kind}")
            added = {c: to for c, to in now.items() if c not in before}
            entries = _ranges(sorted(added)) if kind in _SETS else _runs(sorted(added.items()))
            if added:
                lines.append(" ".join([kind, answer["version"], *entries]))
            known[kind] = now
    for copy in COPIES:
        copy.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _ranges(ascending: Iterable[int]) -> Iterator[str]:
    return (_span(first, last) for first, last, _ in _spans((c, ()) for c in ascending))


def _runs(ascending: Iterable[tuple[int, tuple[int, ...]]]) -> Iterator[str]:
    for first, last, to in _spans(ascending):
        yield f"{_span(first, last)}>{'+'.join(f'{c:x}' for c in to)}"


def _spans(
    ascending: Iterable[tuple[int, tuple[int, ...]]],
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Group consecutive characters that become consecutive ones: first, last, and what the first becomes."""
    run: list[tuple[int, tuple[int, ...]]] = []
    for c, to in ascending:
        if run and (c, to) != (run[-1][0] + 1, (*run[-1][1][:-1], *(x + 1 for x in run[-1][1][-1:]))):
            yield run[0][0], run[-1][0], run[0][1]
            run = []
        run.append((c, to))
    if run:
        yield run[0][0], run[-1][0], run[0][1]


def _span(first: int, last: int) -> str:
    return f"{first:x}" if first == last else f"{first:x}-{last:x}"


if __name__ == "__main__":
    main(sys.argv[1:])
