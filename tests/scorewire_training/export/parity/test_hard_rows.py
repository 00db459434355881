from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.frames import WireRows
from scorewire_training.export.parity import hard_rows
from scorewire_training.export.parity.hard_rows import (
    SAMPLE,
    UNSEEN_TEXTS,
    TriedRows,
    construct_rows,
    steps_around,
)

FEATURES = [
    ("age", schema_pb2.FEATURE_KIND_NUMBER),
    ("country", schema_pb2.FEATURE_KIND_TEXT),
    ("income", schema_pb2.FEATURE_KIND_NUMBER),
]
THRESHOLD = 40.1


def _sample(rows: int = 50) -> WireRows:
    rng = np.random.default_rng(0)
    numbers = np.column_stack([rng.integers(18, 80, rows), rng.normal(100, 10, rows)]).astype(np.float64)
    texts = np.array(["De", "pe"] * (rows // 2), dtype=object).reshape(-1, 1)
    return WireRows(numbers, texts)


def _construct(limit: float = np.inf, thresholds: int = 1) -> TriedRows:
    return construct_rows(
        _sample(),
        FEATURES,
        thresholds={"age": THRESHOLD + np.arange(thresholds), "income": np.array([np.inf])},
        known_texts={"country": ("De", "pe", "fr", "")},
        hard_texts={},
        ranges={"age": (-limit, limit), "income": (-np.inf, np.inf)},
    )


@pytest.fixture(scope="module")
def tried() -> TriedRows:
    return _construct()


def _values(tried: TriedRows, origin: str, column: int = 0) -> set[float]:
    rows = [
        i
        for i, (o, change) in enumerate(zip(tried.origins, tried.changes, strict=True))
        if o == origin and change.startswith(("age =", "income =")[column])
    ]
    return set(tried.rows.numbers[rows, column].tolist())


def _texts(tried: TriedRows, origin: str) -> set[str]:
    return {str(tried.rows.texts[i, 0]) for i, o in enumerate(tried.origins) if o == origin}


def test_the_sample_comes_first_and_unchanged(tried: TriedRows) -> None:
    sample = _sample()
    assert tried.origins[:50] == (SAMPLE,) * 50
    np.testing.assert_array_equal(tried.rows.numbers[:50], sample.numbers)
    np.testing.assert_array_equal(tried.rows.texts[:50], sample.texts)


def test_each_feature_is_missing_in_turn_and_all_at_once(tried: TriedRows) -> None:
    missing = np.isnan(tried.rows.numbers)
    empty = tried.rows.texts[:, 0] == ""
    patterns = Counter(
        (origin, *missing[i].tolist(), bool(empty[i]))
        for i, origin in enumerate(tried.origins)
        if origin in {"missing", "empty_text", "all_missing"}
    )
    assert set(patterns) == {
        ("missing", True, False, False),
        ("missing", False, True, False),
        ("empty_text", False, False, True),
        ("all_missing", True, True, True),
        ("all_missing", True, True, False),
    }
    assert min(patterns.values()) >= 4


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(
    ("origin", "values"),
    [
        ("infinite", {np.inf, -np.inf}),
        ("zero", {0.0}),
        ("huge", {1e30, -1e30}),
        ("over_float32", {1e39, -1e39}),
        ("large_integer", {2.0**24 + 1, -(2.0**24) - 1, 2.0**31 + 1, 2.0**53}),
    ],
)
def test_hard_numbers_are_tried_in_every_number(
    tried: TriedRows, origin: str, values: set[float], column: int
) -> None:
    assert _values(tried, origin, column) == values


def test_both_zeros_are_tried(tried: TriedRows) -> None:
    zeros = [i for i, change in enumerate(tried.changes) if change in {"age = 0.0", "age = -0.0"}]
    assert set(np.signbit(tried.rows.numbers[zeros, 0]).tolist()) == {True, False}


def test_category_codes_are_fractional_negative_and_out_of_range(tried: TriedRows) -> None:
    codes = _values(tried, "category_code")
    assert any(code < 0 for code in codes)
    assert any(code % 1 for code in codes)
    assert max(codes) > 256
    high = _sample().numbers[:, 0].max()
    assert any(value > high for value in _values(tried, "outside_range"))


def test_decimals_and_recombined_rows_are_tried(tried: TriedRows) -> None:
    assert any(value % 1 for value in _values(tried, "decimal"))
    mixed = [i for i, origin in enumerate(tried.origins) if origin == "recombined"]
    assert len(mixed) == 500
    assert set(tried.rows.numbers[mixed, 0]) <= set(_sample().numbers[:, 0])


def test_thresholds_and_both_neighbours_in_both_widths_are_tried(tried: TriedRows) -> None:
    assert _values(tried, "threshold") == {THRESHOLD}
    doubles = {float(np.nextafter(THRESHOLD, side)) for side in (-np.inf, np.inf)}
    assert _values(tried, "beside_threshold_float64") == doubles
    single = np.float32(THRESHOLD)
    singles = {float(np.nextafter(single, np.float32(side))) for side in (-np.inf, np.inf)}
    assert _values(tried, "beside_threshold_float32") == singles | {float(single)}
    together = [i for i, origin in enumerate(tried.origins) if origin == "thresholds_together"]
    assert set(tried.rows.numbers[together, 0]) == {THRESHOLD, *doubles, *singles, float(single)}


def test_infinite_thresholds_are_left_out(tried: TriedRows) -> None:
    assert not _values(tried, "threshold", 1)


def test_many_thresholds_are_bounded_and_reach_both_ends() -> None:
    tried = _construct(thresholds=5_000)
    values = _values(tried, "threshold")
    assert len(values) == 200
    assert {min(values), max(values)} == {THRESHOLD, THRESHOLD + 4_999}
    assert Counter(_construct(thresholds=100_000).origins)["threshold"] == 200


def test_a_threshold_is_tried_in_the_row_that_is_nearest_to_it() -> None:
    tried = _construct(thresholds=30)
    sample = _sample().numbers
    for i, (origin, change) in enumerate(zip(tried.origins, tried.changes, strict=True)):
        if origin == "threshold" and change.startswith("age ="):
            threshold, income = tried.rows.numbers[i]
            base = sample[sample[:, 1] == income, 0]
            assert abs(base[0] - threshold) == np.abs(sample[:, 0] - threshold).min()


def test_a_finite_limit_is_tried_on_both_sides() -> None:
    beside = float(np.nextafter(1e6, np.inf))
    assert _values(_construct(limit=1e6), "limit") == {1e6, -1e6, 2e6, -2e6, beside, -beside}
    assert _values(_construct(), "limit") == set()


def test_texts_unseen_known_and_in_other_spellings_are_tried(tried: TriedRows) -> None:
    assert _texts(tried, "unseen_text") == set(UNSEEN_TEXTS)
    assert _texts(tried, "known_text") == {"fr", ""}
    assert {"DE", "de", "dE", " De\t", "PE", " pe\t", "FR"} <= _texts(tried, "text_variant")


def test_the_same_input_gives_the_same_rows(tried: TriedRows) -> None:
    again = _construct()
    assert again.origins == tried.origins
    assert again.changes == tried.changes
    np.testing.assert_array_equal(again.rows.numbers, tried.rows.numbers)


def test_steps_around_a_threshold_beyond_float32_end_at_infinity() -> None:
    assert np.inf in {value for _, value in steps_around(1e39)}


def test_of_a_wide_table_some_columns_are_changed_alone_and_all_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hard_rows, "MAX_CELLS", 30_000)
    names = [f"x{i}" for i in range(60)]
    numbers = np.random.default_rng(0).normal(size=(50, 60))
    found = construct_rows(
        WireRows(numbers, np.empty((50, 0), dtype=object)),
        [(name, schema_pb2.FEATURE_KIND_NUMBER) for name in names],
        thresholds={},
        known_texts={},
        hard_texts={},
        ranges=dict.fromkeys(names, (-1e35, 1e35)),
    )
    alone = {change.split(" ")[0] for change in found.changes if change}
    assert 5 < len(alone) < 20
    together = [row for row, origin in enumerate(found.origins) if origin == "changed_together"]
    assert len(together) < 200
    for column in range(60):
        values = set(found.rows.numbers[together, column].tolist())
        assert {0.0, 1e30, -1e30, 2.0**24 + 1, 1e35, -1e35} <= values
        assert max(map(abs, values)) == 1e35
    # No two neighbours have the same value in a row.
    assert (np.diff(found.rows.numbers[together], axis=1) != 0).mean() > 0.8
