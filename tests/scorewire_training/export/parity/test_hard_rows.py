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
    ComparisonRows,
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


def _construct(limit: float = np.inf, thresholds: int = 1) -> ComparisonRows:
    return construct_rows(
        _sample(),
        FEATURES,
        thresholds={"age": THRESHOLD + np.arange(thresholds), "income": np.array([np.inf])},
        known_texts={"country": ("De", "pe", "fr", "")},
        hard_texts={},
        ranges={"age": (-limit, limit), "income": (-np.inf, np.inf)},
    )


@pytest.fixture(scope="module")
def compared() -> ComparisonRows:
    return _construct()


def _values(compared: ComparisonRows, origin: str, column: int = 0) -> set[float]:
    rows = [
        i
        for i, (o, change) in enumerate(zip(compared.origins, compared.changes, strict=True))
        if o == origin and change.startswith(("age =", "income =")[column])
    ]
    return set(compared.rows.numbers[rows, column].tolist())


def _texts(compared: ComparisonRows, origin: str) -> set[str]:
    return {str(compared.rows.texts[i, 0]) for i, o in enumerate(compared.origins) if o == origin}


def test_the_sample_comes_first_and_unchanged(compared: ComparisonRows) -> None:
    sample = _sample()
    assert compared.origins[:50] == (SAMPLE,) * 50
    np.testing.assert_array_equal(compared.rows.numbers[:50], sample.numbers)
    np.testing.assert_array_equal(compared.rows.texts[:50], sample.texts)


def test_each_feature_is_missing_in_turn_and_all_at_once(compared: ComparisonRows) -> None:
    missing = np.isnan(compared.rows.numbers)
    empty = compared.rows.texts[:, 0] == ""
    patterns = Counter(
        (origin, *missing[i].tolist(), bool(empty[i]))
        for i, origin in enumerate(compared.origins)
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
    compared: ComparisonRows, origin: str, values: set[float], column: int
) -> None:
    assert _values(compared, origin, column) == values


def test_both_zeros_are_tried(compared: ComparisonRows) -> None:
    zeros = [i for i, change in enumerate(compared.changes) if change in {"age = 0.0", "age = -0.0"}]
    assert set(np.signbit(compared.rows.numbers[zeros, 0]).tolist()) == {True, False}


def test_category_codes_are_fractional_negative_and_out_of_range(compared: ComparisonRows) -> None:
    codes = _values(compared, "category_code")
    assert any(code < 0 for code in codes)
    assert any(code % 1 for code in codes)
    assert max(codes) > 256
    high = _sample().numbers[:, 0].max()
    assert any(value > high for value in _values(compared, "outside_range"))


def test_decimals_and_recombined_rows_are_tried(compared: ComparisonRows) -> None:
    assert any(value % 1 for value in _values(compared, "decimal"))
    mixed = [i for i, origin in enumerate(compared.origins) if origin == "recombined"]
    assert len(mixed) == 500
    assert set(compared.rows.numbers[mixed, 0]) <= set(_sample().numbers[:, 0])


def test_thresholds_and_both_neighbours_in_both_widths_are_tried(compared: ComparisonRows) -> None:
    assert _values(compared, "threshold") == {THRESHOLD}
    doubles = {float(np.nextafter(THRESHOLD, side)) for side in (-np.inf, np.inf)}
    assert _values(compared, "beside_threshold_float64") == doubles
    single = np.float32(THRESHOLD)
    singles = {float(np.nextafter(single, np.float32(side))) for side in (-np.inf, np.inf)}
    assert _values(compared, "beside_threshold_float32") == singles | {float(single)}
    together = [i for i, origin in enumerate(compared.origins) if origin == "thresholds_together"]
    assert set(compared.rows.numbers[together, 0]) == {THRESHOLD, *doubles, *singles, float(single)}


def test_infinite_thresholds_are_left_out(compared: ComparisonRows) -> None:
    assert not _values(compared, "threshold", 1)


def test_many_thresholds_are_bounded_and_reach_both_ends() -> None:
    compared = _construct(thresholds=5_000)
    values = _values(compared, "threshold")
    assert len(values) == 200
    assert {min(values), max(values)} == {THRESHOLD, THRESHOLD + 4_999}
    assert Counter(_construct(thresholds=100_000).origins)["threshold"] == 200


def test_a_threshold_is_tried_in_the_row_that_is_nearest_to_it() -> None:
    compared = _construct(thresholds=30)
    sample = _sample().numbers
    for i, (origin, change) in enumerate(zip(compared.origins, compared.changes, strict=True)):
        if origin == "threshold" and change.startswith("age ="):
            threshold, income = compared.rows.numbers[i]
            base = sample[sample[:, 1] == income, 0]
            assert abs(base[0] - threshold) == np.abs(sample[:, 0] - threshold).min()


def test_a_finite_limit_is_tried_on_both_sides() -> None:
    beside = float(np.nextafter(1e6, np.inf))
    assert _values(_construct(limit=1e6), "limit") == {1e6, -1e6, 2e6, -2e6, beside, -beside}
    assert _values(_construct(), "limit") == set()


def test_texts_unseen_known_and_in_other_spellings_are_tried(compared: ComparisonRows) -> None:
    assert _texts(compared, "unseen_text") == set(UNSEEN_TEXTS)
    assert _texts(compared, "known_text") == {"fr", ""}
    assert {"DE", "de", "dE", " De\t", "PE", " pe\t", "FR"} <= _texts(compared, "text_variant")


def test_the_same_input_gives_the_same_rows(compared: ComparisonRows) -> None:
    again = _construct()
    assert again.origins == compared.origins
    assert again.changes == compared.changes
    np.testing.assert_array_equal(again.rows.numbers, compared.rows.numbers)


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
