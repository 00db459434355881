"""Counts the words of texts, as scikit-learn's text vectorizers do.

The steps are those of scikit-learn: lower case, accents, tokens, stop words,
n-grams. Then each term has a place, which is its index in the vocabulary or is
given by its hash. Properties of characters come from the Unicode version that the
bag names, so that both engines give the same counts on any Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.folding import fold_of
from scorewire_contract.unicode import Characters, character_class, characters
from scorewire_proto.bundle.v1 import manifest_pb2

# The most tokens or characters in a term.
MAX_NGRAM = 16
MAX_WIDTH = 1 << 24
# Entries are padded to a power of two, and to at least this many, so that a graph sees few shapes.
MIN_ENTRIES = 16

_LAST_CHARACTER = 0x10FFFF
_SPACES = re.compile(r"\s\s+")
_MASK = 0xFFFFFFFF

_Cut: TypeAlias = "Callable[[str], Iterator[str]]"


class Entries(NamedTuple):
    """The counts of a bag for rows, as the parts of a sparse matrix, each of shape [entries].

    Entries are ordered by row and then by place. Padding comes last: count 0 in
    row 0, at the place after the last one.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    counts: NDArray[np.float64]


class Bag:
    """Counts the terms in the texts of one feature.

    Raises:
        ValueError: the message contradicts itself or the schema.
    """

    def __init__(self, message: manifest_pb2.Bag, text_count: int) -> None:
        if message.text >= text_count:
            raise ValueError(f"a bag of words is for text feature {message.text} of {text_count}")
        if not 1 <= message.shortest <= message.longest <= MAX_NGRAM:
            raise ValueError(
                f"a bag has n-grams of {message.shortest} to {message.longest},"
                f" and they are of 1 to {MAX_NGRAM}"
            )
        self.text = message.text
        self._cut = _cutter(message)
        self._hash_width = message.hashing.width
        self._signed = message.hashing.alternate_sign
        self._places = {term: place for place, term in enumerate(message.terms)}
        if bool(self._hash_width) == bool(message.terms) or len(self._places) != len(message.terms):
            raise ValueError("a bag has neither distinct terms nor a width to hash them to, or both")
        self.width = self._hash_width or len(message.terms)
        if self.width > MAX_WIDTH:
            raise ValueError(f"a bag has {self.width} places, more than {MAX_WIDTH}")

    def count(self, texts: Sequence[str]) -> Entries:
        """Count the terms of texts; each text is one row."""
        rows: list[int] = []
        places: list[int] = []
        counts: list[int] = []
        for row, text in enumerate(texts):
            found = sorted(self._count(text).items())
            rows += [row] * len(found)
            places += [place for place, _ in found]
            counts += [count for _, count in found]
        size = 1 << (max(len(rows), MIN_ENTRIES) - 1).bit_length()
        idle = size - len(rows)
        return Entries(
            np.array(rows + [0] * idle, dtype=np.int64),
            np.array(places + [self.width] * idle, dtype=np.int64),
            np.array(counts + [0] * idle, dtype=np.float64),
        )

    def _count(self, text: str) -> dict[int, int]:
        counts: dict[int, int] = {}
        if not self._hash_width:
            get = self._places.get
            for term in self._cut(text):
                if (place := get(term)) is not None:
                    counts[place] = counts.get(place, 0) + 1
            return counts
        for term in self._cut(text):
            hashed = murmur3(term.encode())
            place = hash_place(hashed, self._hash_width)
            counts[place] = counts.get(place, 0) + (-1 if self._signed and hashed < 0 else 1)
        return counts


def _cutter(message: manifest_pb2.Bag) -> _Cut:
    """Make the function that splits a text into terms."""
    known = characters(message.unicode_version)
    prepare = _preparer(message, known)
    sizes = range(message.shortest, message.longest + 1)
    if message.analyzer == manifest_pb2.ANALYZER_CHARACTERS:
        return lambda text: _runs(_SPACES.sub(" ", prepare(text)), sizes)
    if message.analyzer == manifest_pb2.ANALYZER_CHARACTERS_OF_WORDS:
        return lambda text: _runs_within_words(prepare(text), sizes)
    if message.analyzer != manifest_pb2.ANALYZER_WORDS:
        raise ValueError(f"analyzer {message.analyzer} of a bag is not one of this format")
    find = _token_finder(message.tokens, known)
    stop_words = frozenset(message.stop_words)

    def cut(text: str) -> Iterator[str]:
        tokens = [token for token in find(prepare(text)) if token not in stop_words]
        for size in sizes:
            for i in range(len(tokens) - size + 1):
                yield " ".join(tokens[i : i + size])

    return cut


def _preparer(message: manifest_pb2.Bag, known: Characters) -> Callable[[str], str]:
    """Make the function that normalizes a text before it is split."""
    fold = fold_of(message.fold)
    if message.accents not in manifest_pb2.Accents.values():
        raise ValueError(f"accents {message.accents} of a bag are not of this format")
    lowercase, stripped = message.lowercase, known.stripped
    strips = message.accents in (manifest_pb2.ACCENTS_STRIPPED, manifest_pb2.ACCENTS_ASCII)
    only_ascii = message.accents == manifest_pb2.ACCENTS_ASCII

    def prepare(text: str) -> str:
        text = fold(text)
        if lowercase:
            text = known.lower(text)
        if strips:
            text = text.translate(stripped)
        return text.encode("ascii", "ignore").decode("ascii") if only_ascii else text

    return prepare


def _token_finder(tokens: manifest_pb2.Tokens, known: Characters) -> Callable[[str], list[str]]:
    """Make the function that finds the tokens of a text."""
    ends = tokens.characters.ends
    starts = tokens.characters.starts
    if len(starts) != len(ends) or tokens.shortest < 1:
        raise ValueError("the tokens of a bag are of no characters, or of no length")
    ranges = [*zip(starts, ends, strict=True), *(known.word if tokens.characters.word else ())]
    if any(not 0 <= first <= last <= _LAST_CHARACTER for first, last in ranges):
        raise ValueError("the tokens of a bag are of characters that there are not")
    inside = character_class(tuple(ranges)) + (r"\s" if tokens.characters.space else "")
    if not inside:
        raise ValueError("the tokens of a bag are of no characters, or of no length")
    sign = "^" if tokens.characters.excluded else ""
    token = f"[{sign}{inside}]{{{tokens.shortest},}}"
    if tokens.whole_words:
        word = character_class(known.word)
        token = f"(?<![{word}]){token}(?![{word}])"
    return re.compile(token).findall


def _runs(text: str, sizes: range) -> Iterator[str]:
    for size in sizes:
        for i in range(len(text) - size + 1):
            yield text[i : i + size]


def _runs_within_words(text: str, sizes: range) -> Iterator[str]:
    """The n-grams of each word, padded with a space at both ends; a shorter word counts once as a whole."""
    for word in text.split():
        padded = f" {word} "
        for size in sizes:
            yield padded[:size]
            if size >= len(padded):
                break
            for i in range(1, len(padded) - size + 1):
                yield padded[i : i + size]


def hash_place(hashed: int, width: int) -> int:
    """The place of a term with this hash, as in scikit-learn's FeatureHasher."""
    return abs(hashed) % width


def murmur3(data: bytes) -> int:
    """MurmurHash3 (x86, 32 bits, seed 0) as a signed integer."""
    state, tail = 0, len(data) & ~3
    for i in range(0, tail, 4):
        state ^= _mix(int.from_bytes(data[i : i + 4], "little"))
        state = (state << 13 | state >> 19) & _MASK
        state = (state * 5 + 0xE6546B64) & _MASK
    state ^= _mix(int.from_bytes(data[tail:], "little")) ^ len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def _mix(block: int) -> int:
    block = block * 0xCC9E2D51 & _MASK
    block = (block << 15 | block >> 17) & _MASK
    return block * 0x1B873593 & _MASK
