"""Texts with any characters are split and counted as scikit-learn's vectorizers do."""

import random
import unicodedata

import pytest
from sklearn.feature_extraction.text import CountVectorizer

from scorewire_contract.unicode import versions
from scorewire_contract.words import Bag
from scorewire_training.export.lowering.tokenization import describe_vectorizer

_HERE = unicodedata.unidata_version if unicodedata.unidata_version in versions() else versions()[-1]
# The Unicode planes with characters, and some code points of each other plane.
_CODES = [c for c in (*range(0x40000), *range(0x40000, 0x110000, 97)) if not 0xD800 <= c < 0xE000]
_SETTINGS = [
    {},
    {"lowercase": False},
    {"strip_accents": "unicode"},
    {"strip_accents": "ascii", "lowercase": False},
    {"strip_accents": "unicode", "ngram_range": (1, 3), "stop_words": ["ab", "xy"]},
    {"stop_words": "english", "ngram_range": (2, 2)},
    {"token_pattern": r"(?u)\b\w+\b", "ngram_range": (1, 2)},
    {"token_pattern": r"\w{3,}"},
    {"token_pattern": r"\S+"},
    {"token_pattern": r"[^ ]+", "ngram_range": (1, 2)},
    {"token_pattern": r"[a-zA-Z']+"},
    {"token_pattern": r"\b[a-z]{2,}\b"},
    {"token_pattern": r"[\w-]+", "strip_accents": "unicode"},
    {"token_pattern": r"[^\W]+"},
    {"analyzer": "char", "ngram_range": (1, 3)},
    {"analyzer": "char", "ngram_range": (2, 2), "strip_accents": "unicode"},
    {"analyzer": "char_wb", "ngram_range": (1, 5)},
    {"analyzer": "char_wb", "ngram_range": (3, 3), "strip_accents": "ascii"},
]


def _terms(vectorizer, text):
    """The terms of a text by the row coding of a vectorizer, in order."""
    message = describe_vectorizer(vectorizer, _HERE)
    message.terms.append("x")
    return list(Bag(message, 1)._cut(text))


def _texts(count: int) -> list[str]:
    """Texts of unusual characters."""
    draw = random.Random(5)
    alphabets = [
        "ab xyAB' -_0",
        "  \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u3000ab",
        "ΣσςΑα'.:\u0301ʰ\xadİiIıßẞéÉ ",
        "中文字，。日本語かな한국어 ",
        "\U0001f600\U0001f468\u200d\U0001f469\ufe0f🇪🇸 ab",
        "".join(map(chr, draw.sample(_CODES, 500))),
    ]
    return [
        "".join(
            draw.choices(draw.choice(alphabets) + draw.choice(alphabets), k=draw.choice([0, 1, 2, 5, 40]))
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("settings", _SETTINGS, ids=str)
def test_texts_are_cut_as_scikit_learn_cuts_them(settings):
    vectorizer = CountVectorizer(**settings)
    analyze = vectorizer.build_analyzer()
    for text in _texts(300):
        assert _terms(vectorizer, text) == analyze(text), repr(text)


@pytest.mark.parametrize("accents", [None, "unicode", "ascii"])
def test_every_character_is_what_it_is_for_this_python(accents):
    vectorizer = CountVectorizer(strip_accents=accents)
    analyze = vectorizer.build_analyzer()
    for start in range(0, len(_CODES), 4096):
        text = "".join(f"{c}a{c}{c} AΣ{c} {c}Σ A{c}Σ " for c in map(chr, _CODES[start : start + 4096]))
        assert _terms(vectorizer, text) == analyze(text), hex(_CODES[start])
