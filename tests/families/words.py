"""Families of texts that are cut into words."""

from __future__ import annotations

from sklearn.feature_extraction.text import TfidfVectorizer

from tests.families.data import one_text
from tests.families.fits import words
from tests.families.running import Family

WORDS = [
    Family(
        name="tf-idf of words, logistic regression",
        fit=words(TfidfVectorizer(token_pattern="[^ ]+", lowercase=False)),  # noqa: S106 - no password
        target="two",
        prepare=one_text,
    ),
    Family(
        name="tf-idf of words as scikit-learn cuts them",
        fit=words(TfidfVectorizer()),
        target="two",
        prepare=one_text,
        refused="splits texts at spaces only",
    ),
]
