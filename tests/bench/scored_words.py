"""The text classifier under load: fitted with scikit-learn's default settings, exported and proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from scorewire_contract.bundle import read_bundle
from scorewire_loadtest.calls import PreparedCall
from scorewire_proto.v1 import packed_pb2
from scorewire_training import export_bundle
from tests.bench.scored_model import call_of

WORDS = 10_000
WORDS_PER_TEXT = 20
_SYLLABLES = [
    f"{consonant}{vowel}" for consonant in "bdfglmnprstvz" for vowel in ("a", "e", "i", "o", "u", "\u00e1")
]


def make_word_calls(folder: Path, *, train_rows: int, count: int) -> list[PreparedCall]:
    """Fit a text classifier and export it to a folder; returns calls of one text each, all different.

    Words are as frequent as in a natural language, one of fifty words in a call is unknown, and the
    scores of every call must be those of scikit-learn.
    """
    draw = np.random.default_rng(11)
    spelt = {"".join(draw.choice(_SYLLABLES, size=draw.integers(2, 5))) for _ in range(2 * WORDS)}
    words = np.array(sorted(spelt)[:WORDS])
    shares = 1 / (10 + np.arange(WORDS))

    def texts(rows: int) -> list[str]:
        drawn = draw.choice(draw.permutation(words), size=(rows, WORDS_PER_TEXT), p=shares / shares.sum())
        drawn[draw.random(drawn.shape) < 0.02] = "unbekannt"
        return [f"{' '.join(row[:9]).capitalize()}, {' '.join(row[9:])}." for row in drawn]

    train = pd.Series([*texts(train_rows), *(" ".join(words[i::50]) for i in range(50))], name="text")
    labels = np.array([text.count("a") > text.count("e") for text in train])
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(train, labels)
    bundle = read_bundle(
        export_bundle(fitted, sample=train[:2_000], name="words", version="1.0.0", output_dir=folder).path
    )
    asked = texts(count)
    return [
        call_of(bundle, packed_pb2.PackedRows(row_count=1, texts=[text]), probabilities[np.newaxis])
        for text, probabilities in zip(asked, fitted.predict_proba(asked), strict=True)
    ]
