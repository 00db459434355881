from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from scorewire_training.transformers import FrequencyEncoder, TextCleaner

FRAME = pd.DataFrame(
    {
        "platform": [" iOS", "IOS", "android\t", None],
        "country": ["DE", "de", np.nan, ""],
    },
    dtype=object,
)


def test_text_cleaner_folds_and_fills_missing_text() -> None:
    cleaned = TextCleaner().fit_transform(FRAME)
    assert cleaned.tolist() == [["ios", "de"], ["ios", "de"], ["android", ""], ["", ""]]


def test_text_cleaner_without_fold_only_fills_missing_text() -> None:
    cleaned = TextCleaner(fold="none").fit_transform(FRAME)
    assert cleaned.tolist() == [[" iOS", "DE"], ["IOS", "de"], ["android\t", ""], ["", ""]]


def test_text_cleaner_does_not_change_its_input() -> None:
    before = FRAME.copy(deep=True)
    TextCleaner().fit_transform(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)


def test_text_cleaner_reads_every_text_dtype() -> None:
    for dtype in (object, "str", "string", "category"):
        column = pd.DataFrame({"a": pd.Series(["X", None, "y"], dtype=dtype)})
        assert TextCleaner().fit_transform(column).ravel().tolist() == ["x", "", "y"]


def test_text_cleaner_folds_ascii_only() -> None:
    column = pd.DataFrame({"a": ["ÄB", "\u00a0İ "]}, dtype=object)
    assert TextCleaner().fit_transform(column).ravel().tolist() == ["Äb", "\u00a0İ"]


def test_unknown_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="fold must be"):
        TextCleaner(fold="upper").fit(FRAME)  # type: ignore[arg-type]  # that is the point


def test_numbers_are_refused_as_text() -> None:
    with pytest.raises(ValueError, match="column 0 has 1"):
        TextCleaner().fit(pd.DataFrame({"a": [1, 2]}))


def test_frequency_is_the_share_of_training_rows() -> None:
    encoder = FrequencyEncoder().fit(FRAME)
    assert encoder.transform(FRAME).tolist() == [[0.25, 0.25], [0.25, 0.25], [0.25, 0.5], [0.25, 0.5]]


def test_unseen_text_has_frequency_zero() -> None:
    encoder = FrequencyEncoder().fit(pd.DataFrame({"a": ["x", "x", "y"]}))
    assert encoder.transform(pd.DataFrame({"a": ["z", None, "x"]})).ravel().tolist() == [0.0, 0.0, 2 / 3]


def test_frequency_encoder_needs_fit() -> None:
    with pytest.raises(NotFittedError):
        FrequencyEncoder().transform(FRAME)


def test_other_columns_than_in_fit_are_refused() -> None:
    encoder = FrequencyEncoder().fit(FRAME)
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(FRAME.rename(columns={"country": "land"}))


def test_pipeline_names_its_columns_and_gives_pandas() -> None:
    pipeline = make_pipeline(TextCleaner(), FrequencyEncoder()).set_output(transform="pandas")
    result = pipeline.fit_transform(FRAME)
    assert list(result.columns) == ["platform", "country"]
    assert pipeline.get_feature_names_out().tolist() == ["platform", "country"]
    assert result["platform"].tolist() == [0.5, 0.5, 0.25, 0.25]


def test_transformers_survive_clone_and_pickle() -> None:
    pipeline = make_pipeline(TextCleaner("none"), FrequencyEncoder()).fit(FRAME)
    copy = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.transform(FRAME), pipeline.transform(FRAME))
    assert clone(pipeline[0]).fold == "none"
