"""How a text vectorizer of scikit-learn splits and counts texts, as a bag of the row coding."""

from __future__ import annotations

import importlib
import unicodedata
from typing import Any, NamedTuple

from sklearn.feature_extraction.text import HashingVectorizer

from scorewire_contract.unicode import versions
from scorewire_contract.words import MAX_NGRAM, MAX_WIDTH
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import UnsupportedModelError

# Python's own parser of regular expressions, a private module of `re`.
_parser: Any = importlib.import_module("re._parser")
_constants: Any = importlib.import_module("re._constants")

_ACCENTS = {
    None: manifest_pb2.ACCENTS_KEPT,
    "unicode": manifest_pb2.ACCENTS_STRIPPED,
    "ascii": manifest_pb2.ACCENTS_ASCII,
}
_ANALYZERS = {
    "word": manifest_pb2.ANALYZER_WORDS,
    "char": manifest_pb2.ANALYZER_CHARACTERS,
    "char_wb": manifest_pb2.ANALYZER_CHARACTERS_OF_WORDS,
}
_LAST_CHARACTER = 0x10FFFF


def unicode_version() -> str:
    """The Unicode version of this Python, or the newest that the row coding knows if that is older."""
    known = versions()
    return unicodedata.unidata_version if unicodedata.unidata_version in known else known[-1]


def describe_vectorizer(vectorizer: Any, version: str) -> manifest_pb2.Bag:
    """How a fitted vectorizer splits and counts texts; the text feature is not set.

    Args:
        vectorizer: a CountVectorizer, TfidfVectorizer or HashingVectorizer.
        version: the Unicode version.

    Raises:
        UnsupportedModelError: the vectorizer calls Python functions, or a bag cannot
            express one of its settings exactly.
    """
    name = type(vectorizer).__name__
    for setting in ("tokenizer", "preprocessor", "analyzer", "strip_accents"):
        if callable(getattr(vectorizer, setting)):
            raise UnsupportedModelError(
                f"the {name} calls a Python function as its {setting}, which cannot be translated",
                f"leave {setting} at one of scikit-learn's own values, or do what it does before the model is"
                " fitted",
            )
    if vectorizer.input != "content":
        raise UnsupportedModelError(
            f"the {name} reads texts from files (input={vectorizer.input!r})", "use input='content'"
        )
    shortest, longest = vectorizer.ngram_range
    if not 1 <= shortest <= longest <= MAX_NGRAM:
        raise UnsupportedModelError(
            f"the {name} has ngram_range={vectorizer.ngram_range}", f"use a range within 1 to {MAX_NGRAM}"
        )
    bag = manifest_pb2.Bag(
        fold=manifest_pb2.TEXT_FOLD_NONE,
        unicode_version=version,
        lowercase=bool(vectorizer.lowercase),
        accents=_ACCENTS[vectorizer.strip_accents],
        analyzer=_ANALYZERS[vectorizer.analyzer],
        shortest=shortest,
        longest=longest,
    )
    if vectorizer.analyzer == "word":
        bag.tokens.CopyFrom(_tokens(name, vectorizer.token_pattern))
        bag.stop_words.extend(sorted(vectorizer.get_stop_words() or ()))
    if isinstance(vectorizer, HashingVectorizer):
        if vectorizer.n_features > MAX_WIDTH:
            raise UnsupportedModelError(
                f"the {name} has n_features={vectorizer.n_features}", f"use at most {MAX_WIDTH}"
            )
        bag.hashing.width, bag.hashing.alternate_sign = vectorizer.n_features, vectorizer.alternate_sign
    elif vocabulary := getattr(vectorizer, "vocabulary_", None):
        bag.terms.extend(sorted(vocabulary, key=vocabulary.__getitem__))
        if longest == 1:
            # Other stop words would not be counted in any case.
            kept = [word for word in bag.stop_words if word in vocabulary]
            del bag.stop_words[:]
            bag.stop_words.extend(kept)
    return bag


class _Set(NamedTuple):
    """A set of characters, as in manifest_pb2.CharacterSet."""

    word: bool
    space: bool
    ranges: tuple[tuple[int, int], ...]
    excluded: bool


_WORD = _Set(word=True, space=False, ranges=(), excluded=False)


def _tokens(name: str, pattern: str) -> manifest_pb2.Tokens:
    """The tokens that a pattern matches.

    Raises:
        UnsupportedModelError: the pattern matches more than the longest runs of a set of characters.
    """
    read = _read_pattern(pattern)
    if read is None:
        raise UnsupportedModelError(
            f"the token_pattern {pattern!r} of the {name} is more than a run of some characters",
            r"use r'(?u)\b\w\w+\b', which is scikit-learn's own, or a pattern like r'\w+', r'\S+' or"
            r" r'\b[a-z]{3,}\b'",
        )
    characters, least, whole_words = read
    tokens = manifest_pb2.Tokens(shortest=least, whole_words=whole_words)
    tokens.characters.word, tokens.characters.space = characters.word, characters.space
    tokens.characters.excluded = characters.excluded
    tokens.characters.starts.extend(first for first, _ in characters.ranges)
    tokens.characters.ends.extend(last for _, last in characters.ranges)
    return tokens


def _read_pattern(pattern: str) -> tuple[_Set, int, bool] | None:
    """The characters, the least length, and whether tokens are whole words; None for other patterns."""
    parsed = _parser.parse(pattern)
    if parsed.state.flags != int(_constants.SRE_FLAG_UNICODE) or parsed.state.groups > 1:
        return None
    parts = list(parsed)
    boundary = (_constants.AT, _constants.AT_BOUNDARY)
    starts, ends = parts[:1] == [boundary], len(parts) > 1 and parts[-1] == boundary
    parts = parts[starts : len(parts) - ends]
    if not parts or parts[-1][0] is not _constants.MAX_REPEAT:
        return None
    least, most, repeated = parts.pop()[1]
    sets = [_read_set(part) for part in (*parts, *repeated)]
    characters = sets[0]
    if (
        most is not _constants.MAXREPEAT
        or len(repeated) != 1
        or characters is None
        or set(sets) != {characters}
    ):
        return None
    least += len(parts)
    # A run of word characters always ends at word boundaries.
    at_words = (starts or ends) and characters != _WORD
    if least < 1 or (at_words and not (starts and ends and _are_words(characters))):
        return None
    return characters, least, at_words


def _read_set(part: tuple[Any, Any]) -> _Set | None:
    """The set of one element of a pattern; None for other elements."""
    kind, value = part
    if kind is _constants.LITERAL or kind is _constants.NOT_LITERAL:
        return _Set(False, False, ((value, value),), kind is _constants.NOT_LITERAL)
    if kind is not _constants.IN:
        return None
    items = list(value)
    excluded = items[0][0] is _constants.NEGATE
    word = space = False
    ranges: list[tuple[int, int]] = []
    for item, told in items[excluded:]:
        if item is _constants.LITERAL:
            ranges.append((told, told))
        elif item is _constants.RANGE:
            ranges.append(told)
        elif told is _constants.CATEGORY_WORD:
            word = True
        elif told is _constants.CATEGORY_SPACE:
            space = True
        elif (
            told in (_constants.CATEGORY_NOT_WORD, _constants.CATEGORY_NOT_SPACE)
            and len(value) == 1 + excluded
        ):
            word, space = told is _constants.CATEGORY_NOT_WORD, told is _constants.CATEGORY_NOT_SPACE
            excluded = not excluded
        else:
            return None
    return _Set(word, space, tuple(ranges), excluded)


def _are_words(characters: _Set) -> bool:
    """Whether all characters of a set are word characters."""
    if characters.excluded or characters.space:
        return False
    size = sum(last - first + 1 for first, last in characters.ranges)
    codes = (code for first, last in characters.ranges for code in range(first, last + 1))
    return size <= _LAST_CHARACTER and all(chr(code).isalnum() or code == ord("_") for code in codes)
