from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.transformers import FrequencyEncoder, TextCleaner
from tests.scorewire_training.export.lowering.scored import build_frame, check_same, classes, step_name

WORDS = ["cheap", "flight", "Hotel", "spa", "sea", "late", "deal", "city"]
# Tokens are what lies between spaces.
PLAIN: dict[str, Any] = {"token_pattern": "[^ ]+", "lowercase": False}


def wordy_frame() -> pd.DataFrame:
    frame = build_frame()
    rng = np.random.default_rng(5)
    frame["title"] = [" ".join(rng.choice(WORDS, size=rng.integers(0, 6))) for _ in range(len(frame))]
    frame["title"] = frame["title"].astype(object)
    return frame


def wild_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, then rows whose titles have odd spaces and unknown words."""
    titles = [
        "",
        " ",
        "  cheap   sea ",
        "cheap\tsea",
        "sea\u00a0sea sea",
        "CHEAP sea",
        "\u00dcber sea",
        "sea " * 50,
    ]
    rows = frame.iloc[: len(titles)].copy()
    rows["title"] = np.array(titles, dtype=object)
    return pd.concat([frame, rows], ignore_index=True)


def titled(step: Any, model: Any, **options: Any) -> Any:
    column: Any = ["title"] if isinstance(step, Pipeline) else "title"
    columns = ColumnTransformer(
        [
            ("n", StandardScaler(), ["amount"]),
            ("t", step, column),
            ("f", FrequencyEncoder(), ["country"]),
        ],
        **options,
    )
    return make_pipeline(columns, model)


@pytest.mark.parametrize(
    "step",
    [
        CountVectorizer(**PLAIN),
        CountVectorizer(stop_words=["sea"], **PLAIN),
        CountVectorizer(binary=True, ngram_range=(1, 2), **PLAIN),
        TfidfVectorizer(**PLAIN),
        TfidfVectorizer(ngram_range=(2, 3), max_features=40, **PLAIN),
        TfidfVectorizer(norm="l1", use_idf=False, **PLAIN),
        TfidfVectorizer(sublinear_tf=True, norm=None, **PLAIN),
        make_pipeline(
            TextCleaner(), FunctionTransformer(np.ravel), CountVectorizer(**PLAIN), TfidfTransformer()
        ),
    ],
    ids=step_name,
)
def test_vectorized_text_goes_through_a_tensor_of_texts(step: Any) -> None:
    frame = wordy_frame()
    pipeline = titled(step, LogisticRegression(max_iter=1000)).fit(frame, classes(frame))
    lowered = check_same(pipeline, wild_texts(frame), sample=frame)
    assert [part.name for part in lowered.coding.inputs] == ["features", "texts"]
    assert lowered.known_texts["title"] == ()


@pytest.mark.parametrize(
    "model",
    [MultinomialNB(), ComplementNB(), ComplementNB(norm=True), BernoulliNB(), BernoulliNB(binarize=0.5)],
)
@pytest.mark.parametrize("count", [2, 3])
def test_naive_bayes_of_words(model: Any, count: int) -> None:
    frame = wordy_frame()
    for step in (CountVectorizer(**PLAIN), TfidfVectorizer(**PLAIN)):
        words = ColumnTransformer([("t", step, "title")])
        pipeline = make_pipeline(words, model).fit(frame, classes(frame, count))
        check_same(pipeline, wild_texts(frame), sample=frame)


def test_naive_bayes_of_counts_that_overflow() -> None:
    counts = np.random.default_rng(0).poisson(2.0, (60, 2)).astype(float)
    frame = pd.DataFrame(counts, columns=["a", "b"])
    model = MultinomialNB().fit(frame, np.arange(60) % 3)
    model.feature_log_prob_[:, 1] = [-0.5, -2.0, -3.0]
    far = frame.head(2).assign(b=[-1.7e308, 1.7e308])
    check_same(model, far, sample=frame)
    with np.errstate(all="ignore"):
        # One score of the first row is a number, two are infinite.
        assert model.predict_proba(far)[0] == pytest.approx([0.0, np.nan, np.nan], nan_ok=True)


def test_counts_before_xgboost() -> None:
    frame = wordy_frame()
    for threshold in (0.0, 1.0):
        pipeline = titled(
            CountVectorizer(**PLAIN), XGBClassifier(n_jobs=1, n_estimators=8), sparse_threshold=threshold
        )
        check_same(pipeline.fit(frame, classes(frame)), frame)


def test_vectorizer_over_a_table_is_refused() -> None:
    frame = wordy_frame()[["title"]]
    pipeline = make_pipeline(TfidfVectorizer(**PLAIN), LogisticRegression())
    pipeline.fit(frame["title"], classes(wordy_frame()))
    with pytest.raises(UnsupportedModelError, match="ColumnTransformer"):
        lower(pipeline, frame)


@pytest.mark.parametrize(
    "options",
    [
        {"lowercase": True},
        {"token_pattern": r"\S+"},
        {"analyzer": "char"},
        {"strip_accents": "ascii"},
        {"stop_words": ["sea"], "ngram_range": (1, 2)},
        {"preprocessor": str.swapcase},
    ],
    ids=step_name,
)
@pytest.mark.filterwarnings("ignore:The parameter")
def test_vectorizer_that_does_more_than_split_is_refused(options: dict[str, Any]) -> None:
    frame = wordy_frame()
    pipeline = titled(CountVectorizer(**{**PLAIN, **options}), LogisticRegression(max_iter=1000))
    pipeline.fit(frame, classes(frame))
    with pytest.raises(UnsupportedModelError, match="at spaces only") as refusal:
        lower(pipeline, frame)
    assert "lowercase=False" in refusal.value.way_out
