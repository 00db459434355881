"""A text classifier with scikit-learn's own settings: fitted, exported, served by each engine, called."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from scorewire import Client
from scorewire_training.export import export_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.typed import TypedService
from tests.conformance.wire import Wire
from tests.processes import serving

_GOOD = [
    "Una película maravillosa, ¡qué actuación!",
    "非常 好看 的 电影",
    "I LOVED it \U0001f600\U0001f600",
    "the best film",
]
_BAD = ["No me gustó nada el guión", "太 无聊 了", "boring, boring \U0001f634", "The worst of all films"]
_MODELS = {
    "logistic": make_pipeline(TfidfVectorizer(), LogisticRegression()),
    "bayes": make_pipeline(TfidfVectorizer(), MultinomialNB()),
    "runs": make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), strip_accents="unicode", sublinear_tf=True),
        LogisticRegression(),
    ),
    "hashes": make_pipeline(HashingVectorizer(analyzer="char", ngram_range=(2, 2)), LogisticRegression()),
}
_TEXTS = [
    *_GOOD,
    *_BAD,
    "",
    " \t\n",
    "words that nobody knows",
    "¡MARAVILLOSA! İ ΟΔΟΣ ﬁn \u0301",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600",
    "電影 好看 \u3000电影",
    "best worst " * 20_000,
    "".join(map(chr, range(1, 0xD800))),
]


def _random_texts(count: int) -> list[str]:
    """Characters of all of Unicode, among words that are known."""
    draw = random.Random(3)
    known = " ".join([*_GOOD, *_BAD]).split()
    codes = [*range(1, 0x3000), *(c for c in range(1, sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)]
    return [
        "".join(draw.choice(known) + chr(draw.choice(codes)) for _ in range(draw.randrange(1, 30)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Pipeline]]:
    """The folder of all bundles, and the models that they are of."""
    texts = pd.Series([*_GOOD, *_BAD] * 5, name="review")
    labels = ([*["good"] * len(_GOOD), *["bad"] * len(_BAD)]) * 5
    models = tmp_path_factory.mktemp("words") / "models"
    fitted = {name: model.fit(texts, labels) for name, model in _MODELS.items()}
    for name, model in fitted.items():
        export_bundle(model, sample=texts, name=name, version="1.0.0", output_dir=models)
    return models, fitted


@pytest.fixture(scope="module", params=ENGINES)
def address(
    request: pytest.FixtureRequest,
    fitted: tuple[Path, dict[str, Pipeline]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serving"), fitted[0], "--engine", request.param) as server:
        yield server.address


@pytest.mark.parametrize("name", _MODELS)
def test_a_typed_call_has_the_probabilities_of_scikit_learn(
    address: str, fitted: tuple[Path, dict[str, Pipeline]], name: str
) -> None:
    wanted = fitted[1][name].predict_proba(_TEXTS)
    wire = Wire(address)
    service = TypedService(wire, f"scorewire.models.{name}.v1.{name.title()}Service")
    answers = [service.predict(review=text) for text in _TEXTS]
    together = service.predict_batch(*({"review": text} for text in _TEXTS))
    wire.channel.close()
    for found in (answers, together):
        np.testing.assert_allclose([each.probabilities for each in found], wanted, rtol=1e-9, atol=1e-12)


def test_rows_of_many_calls_have_the_scores_of_scikit_learn(
    address: str, fitted: tuple[Path, dict[str, Pipeline]]
) -> None:
    texts = _random_texts(400)
    for name, model in fitted[1].items():
        wanted = model.predict_proba(texts)
        with Client(address) as client:
            rows = [{"review": text} for text in texts]
            alone = [prediction.score for prediction in client.predict_stream(name, iter(rows))]
            together = client.predict(name, rows).scores
        # The bad stand before the good.
        np.testing.assert_allclose(alone, wanted[:, 1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(together, wanted[:, 1], rtol=1e-9, atol=1e-12)
