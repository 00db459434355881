"""Text classifiers with scikit-learn's default settings, from the fit to scores of both engines."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from scorewire import Client
from scorewire_contract.bundle import GOLDEN, GRAPH, read_bundle, read_manifest, to_json, write_bundle
from scorewire_contract.scoring import Scorer
from scorewire_server.loading.microbatching import MAX_SHARED_ROWS, max_shared_rows
from scorewire_training.export import export_bundle
from scorewire_training.export.runtime import open_graph
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
# Code points: all that may have case, accents or white space, and some others.
_CODES = [
    c
    for c in range(1, sys.maxunicode + 1)
    if not 0xD800 <= c < 0xE000
    and (c < 0x3400 or 0xA000 <= c < 0xAC00 or 0xF900 <= c < 0x20000 or 0xE0000 <= c < 0xE0200 or c % 97 == 0)
]
_CODES_IN_A_TEXT = 1_000
_CHARACTERS = {
    "letters": HashingVectorizer(n_features=2**12, norm=None),
    "stripped": HashingVectorizer(n_features=2**12, norm=None, strip_accents="unicode", ngram_range=(2, 2)),
    "spaces": HashingVectorizer(
        n_features=2**12, norm=None, strip_accents="ascii", analyzer="char_wb", ngram_range=(3, 3)
    ),
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
    """Texts with characters of all of Unicode among known words."""
    draw = random.Random(3)
    known = " ".join([*_GOOD, *_BAD]).split()
    codes = [*range(1, 0x3000), *(c for c in range(1, sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)]
    return [
        "".join(draw.choice(known) + chr(draw.choice(codes)) for _ in range(draw.randrange(1, 30)))
        for _ in range(count)
    ]


def _texts_of_characters() -> list[str]:
    """Texts with each character alone, within words, and next to a sigma, whose form it may decide."""
    parts = [f"{c}a{c}{c} A\u03a3{c} {c}\u03a3 A{c}\u03a3" for c in map(chr, _CODES)]
    starts = range(0, len(parts), _CODES_IN_A_TEXT)
    return [" ".join(parts[start : start + _CODES_IN_A_TEXT]) for start in starts]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Pipeline]]:
    """The folder of all bundles, and their fitted models."""
    texts = pd.Series([*_GOOD, *_BAD] * 5, name="review")
    labels = ([*["good"] * len(_GOOD), *["bad"] * len(_BAD)]) * 5
    models = tmp_path_factory.mktemp("words") / "models"
    fitted = {name: model.fit(texts, labels) for name, model in _MODELS.items()}
    for name, model in fitted.items():
        export_bundle(model, sample=texts, name=name, version="1.0.0", output_dir=models)
    asked = _texts_of_characters()
    values = np.random.default_rng(1).normal(size=len(asked))
    for name, vectorizer in _CHARACTERS.items():
        fitted[name] = make_pipeline(vectorizer, Ridge()).fit(asked, values)
        export_bundle(fitted[name], sample=texts, name=name, version="1.0.0", output_dir=models)
    fitted["priced"] = _priced_model().fit(_priced_rows(texts), labels)
    export_bundle(
        fitted["priced"], sample=_priced_rows(texts), name="priced", version="1.0.0", output_dir=models
    )
    # No exporter writes this: a bag with terms and an empty `hashing`.
    bundle = read_bundle(models / "logistic" / "1.0.0")
    bundle.manifest.model = "listed"
    bundle.manifest.coding.bags[0].hashing.SetInParent()
    write_bundle(models, bundle.manifest, {GRAPH: bundle.graph, GOLDEN: to_json(bundle.golden)})
    fitted["listed"] = fitted["logistic"]
    return models, fitted


def _priced_model() -> Pipeline:
    columns = make_column_transformer((TfidfVectorizer(), "review"), (StandardScaler(), ["price"]))
    return make_pipeline(columns, LogisticRegression())


def _priced_rows(texts: Sequence[str]) -> pd.DataFrame:
    prices = np.random.default_rng(4).normal(size=len(texts))
    return pd.DataFrame({"review": pd.Series(list(texts), dtype=object), "price": prices})


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


@pytest.mark.parametrize("name", _CHARACTERS)
def test_every_character_counts_as_it_does_in_scikit_learn(
    address: str, fitted: tuple[Path, dict[str, Pipeline]], name: str
) -> None:
    texts = _texts_of_characters()
    with Client(address) as client:
        found = [client.predict(name, {"review": text}).score for text in texts]
    np.testing.assert_allclose(found, fitted[1][name].predict(texts), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", _MODELS)
def test_texts_of_different_calls_may_share_a_run(
    fitted: tuple[Path, dict[str, Pipeline]], name: str
) -> None:
    bundle = read_bundle(fitted[0] / name / "1.0.0")
    scorer = Scorer(bundle.manifest.schema, bundle.manifest.coding, open_graph(bundle.graph))
    assert max_shared_rows(bundle, scorer, 1.0) == MAX_SHARED_ROWS


def test_bundles_with_words_are_of_the_second_format(fitted: tuple[Path, dict[str, Pipeline]]) -> None:
    assert read_manifest(fitted[0] / "logistic" / "1.0.0").format_version == 2


def test_words_of_rows_beside_refused_ones_are_theirs(
    address: str, fitted: tuple[Path, dict[str, Pipeline]]
) -> None:
    frame = _priced_rows(_random_texts(60))
    wanted = fitted[1]["priced"].predict_proba(frame)[:, 1]
    frame.loc[::3, "price"] = np.nan
    with Client(address) as client:
        found = client.predict("priced", frame.to_dict("records"))
    assert [error.row for error in found.errors] == list(range(0, 60, 3))
    kept = frame["price"].notna().to_numpy()
    np.testing.assert_allclose(np.asarray(found.scores)[kept], wanted[kept], rtol=1e-9, atol=1e-12)


def test_rows_of_many_calls_have_the_scores_of_scikit_learn(
    address: str, fitted: tuple[Path, dict[str, Pipeline]]
) -> None:
    texts = _random_texts(400)
    for name in (*_MODELS, "listed"):
        wanted = fitted[1][name].predict_proba(texts)
        with Client(address) as client:
            rows = [{"review": text} for text in texts]
            alone = [prediction.score for prediction in client.predict_stream(name, iter(rows))]
            together = client.predict(name, rows).scores
        # Bad rows come before good ones.
        np.testing.assert_allclose(alone, wanted[:, 1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(together, wanted[:, 1], rtol=1e-9, atol=1e-12)
