"""Families of text vectorizers: texts split into words or runs of characters, and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from tests.families.fits import Fit, whole
from tests.families.running import Family

_WORDS = [
    *("Cheap", "flight", "HOTEL", "spa", "sea", "late", "deal", "the", "of", "a", "x1"),
    *("niño", "café", "中文", "İzmir", "straße", "\U0001f600"),
]
_VECTORIZERS: dict[str, Any] = {
    "tf-idf of words": TfidfVectorizer(),
    "counts of words": CountVectorizer(stop_words="english", ngram_range=(1, 2)),
    "hashes of words": HashingVectorizer(n_features=2**10, alternate_sign=False),
    "tf-idf of characters": TfidfVectorizer(analyzer="char", ngram_range=(1, 3), strip_accents="unicode"),
    "counts of characters of words": CountVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), strip_accents="ascii", binary=True
    ),
}
_MODELS: dict[str, Any] = {
    "logistic regression": LogisticRegression(),
    "MultinomialNB": MultinomialNB(),
    "ComplementNB": ComplementNB(),
    "BernoulliNB": BernoulliNB(),
}


def _reviews(frame: pd.DataFrame) -> pd.DataFrame:
    """Two columns of texts of several languages, and a number."""
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(_WORDS, size=rng.integers(0, 12))) for _ in range(2 * len(frame))]
    score = frame["score"].fillna(0.0)
    columns = {"title": texts[: len(frame)], "review": texts[len(frame) :]}
    return pd.DataFrame({**columns, "score": score}, index=frame.index).astype(
        {"title": object, "review": object}
    )


def _one(vectorizer: Any, *steps: Any) -> Fit:
    """One column of texts, in a table."""
    return whole(make_pipeline(make_column_transformer((vectorizer, "review")), *steps))


def _all(model: Any, **options: Any) -> Fit:
    """Two columns of texts and a number."""
    columns = make_column_transformer(
        (TfidfVectorizer(), "review"),
        (CountVectorizer(analyzer="char_wb", ngram_range=(1, 2)), "title"),
        (StandardScaler(), ["score"]),
        **options,
    )
    return whole(make_pipeline(columns, model))


def _family(name: str, fit: Fit, target: str = "three", refused: str = "") -> Family:
    return Family(name=name, fit=fit, target=target, prepare=_reviews, refused=refused)


WORDS = [
    *(
        _family(f"{cut}, {name}", _one(vectorizer, model))
        for cut, vectorizer in _VECTORIZERS.items()
        for name, model in _MODELS.items()
    ),
    _family(
        "tf-idf of words, logistic regression of two classes",
        _one(TfidfVectorizer(), LogisticRegression()),
        "two",
    ),
    _family(
        "hashes of words with signs, tf-idf, LinearSVC",
        _one(HashingVectorizer(n_features=2**14), TfidfTransformer(), LinearSVC()),
    ),
    _family("hashes of words with signs, SGD", _one(HashingVectorizer(), SGDClassifier(random_state=1))),
    _family(
        "counts of words, best 10, tf-idf, logistic regression",
        _one(
            CountVectorizer(),
            SelectKBest(chi2, k=10),
            TfidfTransformer(sublinear_tf=True),
            LogisticRegression(),
        ),
    ),
    _family(
        "tf-idf of words, TruncatedSVD, logistic regression",
        _one(TfidfVectorizer(), TruncatedSVD(3), LogisticRegression()),
    ),
    _family(
        "tf-idf of words, random forest", _one(TfidfVectorizer(), RandomForestClassifier(10, random_state=1))
    ),
    _family("counts of words, XGBoost", _one(CountVectorizer(), XGBClassifier(n_estimators=10, n_jobs=1))),
    _family(
        "counts of words, LightGBM",
        _one(CountVectorizer(dtype=np.float64), LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1)),
    ),
    _family("two columns of words beside a number, logistic regression", _all(LogisticRegression())),
    _family(
        "two columns of words beside a number, XGBoost",
        _all(XGBClassifier(n_estimators=10, n_jobs=1), sparse_threshold=0),
    ),
    _family(
        "words by a function",
        _one(CountVectorizer(tokenizer=str.split, token_pattern=None), LogisticRegression()),
        refused="a Python function as its tokenizer",
    ),
    _family(
        "words by an odd pattern",
        _one(CountVectorizer(token_pattern=r"[a-z]\w+"), LogisticRegression()),  # noqa: S106 - no password
        refused="more than a run of some characters",
    ),
]
