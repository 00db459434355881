from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer, MaxAbsScaler, Normalizer, StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from scorewire_training.estimators import FrequencyEncoder, TextCleaner
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.export.lowering.hard_texts import make_hard_texts
from scorewire_training.export.lowering.tokenization import describe_vectorizer
from tests.scorewire_training.export.lowering.scored import build_frame, check_same, classes, step_name

WORDS = ["cheap", "flight", "Hotel", "spa", "sea", "late", "deal", "city"]
# Tokens are separated by spaces.
PLAIN: dict[str, Any] = {"token_pattern": "[^ ]+", "lowercase": False}


def wordy_frame() -> pd.DataFrame:
    frame = build_frame()
    rng = np.random.default_rng(5)
    frame["title"] = [" ".join(rng.choice(WORDS, size=rng.integers(0, 6))) for _ in range(len(frame))]
    frame["title"] = frame["title"].astype(object)
    return frame


def wild_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, then rows with odd spaces and unknown words in their titles."""
    titles = [
        "",
        " ",
        "  cheap   sea ",
        "cheap\tsea",
        "sea\u00a0sea sea",
        "CHEAP sea",
        "\u00dcber sea",
        "sea " * 50,
        *make_hard_texts(describe_vectorizer(CountVectorizer(vocabulary=["sea", "hotel"]).fit([]), "14.0.0")),
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
        CountVectorizer(),
        CountVectorizer(stop_words=["sea"], **PLAIN),
        CountVectorizer(binary=True, ngram_range=(1, 2), stop_words="english"),
        CountVectorizer(vocabulary=["sea", "spa", "never met"]),
        CountVectorizer(dtype=np.float64),
        TfidfVectorizer(),
        TfidfVectorizer(ngram_range=(2, 3), max_features=40, **PLAIN),
        TfidfVectorizer(norm="l1", use_idf=False, **{**PLAIN, "token_pattern": r"\w+"}),
        TfidfVectorizer(sublinear_tf=True, norm=None, strip_accents="unicode"),
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), strip_accents="ascii"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, smooth_idf=False),
        HashingVectorizer(n_features=2**16),
        HashingVectorizer(n_features=8, binary=True),
        HashingVectorizer(n_features=8, alternate_sign=False, norm="l1", analyzer="char_wb"),
        make_pipeline(FunctionTransformer(np.ravel), HashingVectorizer(n_features=8), TfidfTransformer()),
        make_pipeline(FunctionTransformer(np.ravel), CountVectorizer(), MaxAbsScaler(), Normalizer()),
        make_pipeline(
            FunctionTransformer(np.ravel),
            CountVectorizer(),
            Normalizer(),
            TfidfTransformer(sublinear_tf=True),
        ),
        make_pipeline(FunctionTransformer(np.ravel), CountVectorizer(), StandardScaler(with_mean=False)),
        make_pipeline(FunctionTransformer(np.ravel), TfidfVectorizer(), TruncatedSVD(3, random_state=1)),
        make_pipeline(
            TextCleaner(), FunctionTransformer(np.ravel), CountVectorizer(**PLAIN), TfidfTransformer()
        ),
        make_pipeline(
            FunctionTransformer(np.ravel),
            FeatureUnion(
                [("w", TfidfVectorizer()), ("c", CountVectorizer(analyzer="char"))],
                transformer_weights={"w": 3},
            ),
            VarianceThreshold(0.05),
            Binarizer(threshold=0.1),
        ),
    ],
    ids=step_name,
)
def test_texts_are_counted_outside_the_graph(step: Any) -> None:
    frame = wordy_frame()
    pipeline = titled(step, LogisticRegression(max_iter=1000)).fit(frame, classes(frame))
    lowered = check_same(pipeline, wild_texts(frame), sample=frame)
    assert lowered.coding.bags
    assert lowered.hard_texts["title"]
    assert lowered.known_texts["title"] == ()


@pytest.mark.parametrize(
    "model",
    [MultinomialNB(), ComplementNB(), ComplementNB(norm=True), BernoulliNB(), BernoulliNB(binarize=0.5)],
)
@pytest.mark.parametrize("count", [2, 3])
def test_naive_bayes_of_words(model: Any, count: int) -> None:
    frame = wordy_frame()
    for step in (
        CountVectorizer(),
        TfidfVectorizer(),
        CountVectorizer(analyzer="char_wb", ngram_range=(1, 3)),
    ):
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
        # One score of the first row is finite, two are infinite.
        assert model.predict_proba(far)[0] == pytest.approx([0.0, np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    "model",
    [
        XGBClassifier(n_jobs=1, n_estimators=8),
        LGBMClassifier(n_jobs=1, n_estimators=8, verbose=-1),
        RandomForestClassifier(n_estimators=8, random_state=1),
        DecisionTreeClassifier(max_depth=1),
    ],
    ids=step_name,
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_trees_of_words_ask_for_the_words_that_they_split(model: Any) -> None:
    frame = wordy_frame()
    for step in (CountVectorizer(), TfidfVectorizer(), HashingVectorizer(n_features=6, norm=None)):
        for threshold in (0.0, 1.0):
            pipeline = titled(step, model, sparse_threshold=threshold)
            check_same(pipeline.fit(frame, classes(frame)), wild_texts(frame), sample=frame)


def test_a_network_of_many_hashes_has_one_weight_for_each() -> None:
    frame = wordy_frame()
    model = MLPClassifier(hidden_layer_sizes=(3,), max_iter=5, random_state=1)
    columns = ColumnTransformer([("t", HashingVectorizer(n_features=2**18), "title")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline = make_pipeline(columns, model).fit(frame, classes(frame))
    check_same(pipeline, wild_texts(frame), sample=frame)


@pytest.mark.parametrize(
    "model",
    [
        SGDOneClassSVM(random_state=0),
        KMeans(3, n_init=1, random_state=0),
        IsolationForest(n_estimators=8, random_state=0),
    ],
    ids=step_name,
)
def test_models_without_targets_take_words_as_they_are(model: Any) -> None:
    frame = wordy_frame()
    check_same(titled(HashingVectorizer(n_features=2**18), model).fit(frame), wild_texts(frame), sample=frame)


def test_so_many_hashes_are_not_written_out_as_columns() -> None:
    frame = wordy_frame()
    columns = ColumnTransformer([("t", HashingVectorizer(n_features=2**18), "title")])
    pipeline = make_pipeline(columns, SVR()).fit(frame, classes(frame))
    with pytest.raises(UnsupportedModelError, match="262144 columns of words") as refusal:
        lower(pipeline, frame)
    assert "n_features" in refusal.value.way_out


def test_vectorizer_over_a_table_is_refused() -> None:
    frame = wordy_frame()[["title"]]
    pipeline = make_pipeline(TfidfVectorizer(**PLAIN), LogisticRegression())
    pipeline.fit(frame["title"], classes(wordy_frame()))
    with pytest.raises(UnsupportedModelError, match="ColumnTransformer"):
        lower(pipeline, frame)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"preprocessor": str.swapcase}, "a Python function as its preprocessor"),
        ({"tokenizer": str.split}, "a Python function as its tokenizer"),
        ({"analyzer": str.split}, "a Python function as its analyzer"),
        ({"strip_accents": str.lower}, "a Python function as its strip_accents"),
        ({"token_pattern": r"\b[a-z][a-z0-9]+\b"}, "more than a run"),
        ({"token_pattern": r"(\w+)"}, "more than a run"),
        ({"token_pattern": r"(?i)[a-z]+"}, "more than a run"),
        ({"token_pattern": r"\b[a-z']+\b"}, "more than a run"),
        ({"token_pattern": r"\b[a-z]+"}, "more than a run"),
        ({"token_pattern": r"[\W\d]+|sea"}, "more than a run"),
        ({"token_pattern": r"\w{1,3}"}, "more than a run"),
        ({"token_pattern": "sea"}, "more than a run"),
        ({"token_pattern": r"\w*a?"}, "more than a run"),
        ({"ngram_range": (1, 40), "analyzer": "char"}, "within 1 to 16"),
        ({"dtype": np.float32}, "counts in float32"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The parameter")
def test_vectorizer_that_cannot_be_told_exactly_is_refused(options: dict[str, Any], reason: str) -> None:
    frame = wordy_frame()
    pipeline = titled(CountVectorizer(**options), LogisticRegression(max_iter=1000))
    pipeline.fit(frame, classes(frame))
    with pytest.raises(UnsupportedModelError, match=re.escape(reason)):
        lower(pipeline, frame)


def test_logarithm_of_signed_counts_is_refused() -> None:
    frame = wordy_frame()
    step = make_pipeline(
        FunctionTransformer(np.ravel),
        HashingVectorizer(n_features=2**18),
        TfidfTransformer(sublinear_tf=True),
    )
    with np.errstate(all="ignore"):
        step.fit(frame[["title"]])
    with pytest.raises(UnsupportedModelError, match="alternate_sign=False"):
        lower(step, frame[["title"]])
