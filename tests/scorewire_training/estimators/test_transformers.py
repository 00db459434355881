from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from scorewire_training.estimators import FrequencyEncoder, RateEncoder, TextCleaner

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


def _users(rows: int = 3_000) -> tuple[pd.DataFrame, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Users whose amount is a rate of the country times a rate of the device for each event."""
    rng = np.random.default_rng(0)
    country = rng.choice(["de", "fr", "pe"], rows, p=[0.7, 0.28, 0.02])
    # The share of each device depends on the country, the rate of a device does not.
    device = np.where(rng.random(rows) < np.where(country == "de", 0.9, 0.2), "new", "old")
    events = rng.poisson(4.0, rows).astype(np.float64)
    rate = pd.Series(country).map({"de": 0.01, "fr": 0.02, "pe": 100.0}).to_numpy()
    rate = rate * np.where(device == "new", 1.5, 1.0) * rng.lognormal(0.0, 0.2, rows)
    frame = pd.DataFrame({"country": country, "device": device, "events": events}, dtype=object)
    return frame.astype({"events": np.float64}), events * rate


def test_rates_give_each_text_its_own_effect() -> None:
    frame, amounts = _users()
    encoder = RateEncoder().fit(frame, amounts)
    country, device = encoder.effects_
    assert country["fr"] - country["de"] == pytest.approx(np.log(2.0), abs=0.03)
    assert country["pe"] - country["de"] == pytest.approx(np.log(10_000.0), abs=0.1)
    assert device["new"] - device["old"] == pytest.approx(np.log(1.5), abs=0.03)
    encoded = encoder.transform(pd.DataFrame({"country": ["PE "], "device": ["new"], "events": [7.0]}))
    assert encoded[0, 1:].tolist() == [1.0, country["pe"], device["new"]]
    # The median of a rate of 150 with a standard deviation of 20 %.
    assert np.exp(encoded[0, 0]) == pytest.approx(7.0 * 150.0, rel=0.1)


def test_a_text_that_is_rare_has_little_effect_unless_it_stands_out() -> None:
    frame, amounts = _users()
    # Many names without any effect get effects near zero.
    frame["device"] = [f"d{i % 700}" for i in range(len(frame))]
    devices = np.array(list(RateEncoder().fit(frame, amounts).effects_[1].values()))
    rates = np.log(amounts[amounts > 0] / frame["events"][amounts > 0])
    assert np.abs(devices).max() < 0.2 * rates.std()


def test_no_row_is_encoded_by_its_own_amount() -> None:
    frame, amounts = _users()
    encoder = RateEncoder()
    before = encoder.fit_transform(frame, amounts)
    changed = amounts.copy()
    row = int(np.flatnonzero(amounts > 0)[0])
    changed[row] *= 1e6
    after = RateEncoder().fit_transform(frame, changed)
    np.testing.assert_array_equal(after[row], before[row])
    assert not np.array_equal(after, before)
    assert not np.array_equal(before, encoder.transform(frame))


def test_unknown_and_missing_texts_have_no_effect_unless_they_were_seen() -> None:
    frame, amounts = _users()
    frame.loc[:299, "device"] = None
    encoder = RateEncoder().fit(frame, amounts)
    rows = pd.DataFrame({"country": ["xx", None], "device": ["new", None], "events": [1.0, 1.0]})
    encoded = encoder.transform(rows)
    assert encoded[:, 2].tolist() == [0.0, 0.0]
    assert encoded[1, 3] == encoder.effects_[1][""]


def test_counts_are_summed_and_bounded() -> None:
    frame, amounts = _users()
    frame["more"] = 2.0
    encoder = RateEncoder(count_columns=2).fit(frame, amounts)
    largest = float(frame["events"].max() + 2.0)
    rows = pd.DataFrame(
        {
            "country": "de",
            "device": "new",
            "events": [3.0, np.nan, np.nan, -5.0, np.inf, 1e30],
            "more": [2.0, 4.0, np.nan, -1.0, 0.0, 0.0],
        }
    )
    encoded = encoder.transform(rows)
    rate = np.exp(encoder.mean_ + encoder.effects_[0]["de"] + encoder.effects_[1]["new"])
    assert np.exp(encoded[:, 0]) / rate == pytest.approx([5.0, 4.0, 0.0, 0.0, largest, largest])
    assert encoded[:, 1].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def test_rates_of_nothing_have_no_effects() -> None:
    frame, amounts = _users(50)
    encoded = RateEncoder().fit_transform(frame, np.zeros(50))
    assert (encoded[:, 2:] == 0).all()
    # A single text, or only distinct texts, have no effect either.
    frame["country"], frame["device"] = "de", [f"d{i}" for i in range(50)]
    assert (RateEncoder().fit_transform(frame, amounts)[:, 2:] == 0).all()


def test_rates_refuse_what_is_no_text() -> None:
    frame, amounts = _users(50)
    with pytest.raises(ValueError, match="RateEncoder takes text, and column 1 has"):
        RateEncoder().fit(frame.assign(device=1.0), amounts)
    frame.loc[3, "events"] = np.inf
    with pytest.raises(ValueError, match="counts that are not finite"):
        RateEncoder().fit(frame, amounts)
    with pytest.raises(ValueError, match="fold must be"):
        RateEncoder(fold="upper").fit(frame, amounts)  # type: ignore[arg-type]  # that is the point
