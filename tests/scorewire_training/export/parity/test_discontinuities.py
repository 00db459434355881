from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scorewire_training.export.frames import WireRows
from scorewire_training.export.parity.discontinuities import find_discontinuities


def _sample(*columns: NDArray[np.float64]) -> WireRows:
    return WireRows(np.column_stack(columns), np.empty((len(columns[0]), 0), dtype=object))


def test_both_sides_of_a_discontinuity_are_found_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    sample = _sample(rng.normal(size=50), rng.normal(size=50) * 1e6)
    discontinuities = {0: -0.0123, 1: 98_765.4321}

    def ask(rows: WireRows) -> list[NDArray[np.float64]]:
        return [
            np.column_stack([rows.numbers[:, i] > value for i, value in discontinuities.items()]).astype(
                np.float64
            )
        ]

    found, along = find_discontinuities(ask, sample, [0, 1])
    for column, value in discontinuities.items():
        values = {row[column] for row, c in zip(found.numbers.tolist(), along, strict=True) if c == column}
        assert values == {value, float(np.nextafter(value, np.inf))}


def test_a_discontinuity_at_zero_is_found_between_the_signs() -> None:
    sample = _sample(np.array([-3.0, 5.0, -2.0, 7.0]))
    found, _ = find_discontinuities(lambda rows: [(rows.numbers >= 0).astype(np.float64)], sample, [0])
    assert set(found.numbers.ravel().tolist()) == {-5e-324, 0.0}


def test_rows_keep_their_other_features() -> None:
    sample = _sample(np.array([0.0, 1.0, 2.0]), np.array([7.0, 7.0, 7.0]))
    found, along = find_discontinuities(
        lambda rows: [(rows.numbers[:, :1] > 1.5).astype(np.float64)], sample, [0]
    )
    assert set(along) == {0}
    assert set(found.numbers[:, 1]) == {7.0}


def test_nothing_is_found_where_nothing_changes() -> None:
    sample = _sample(np.array([np.nan, np.nan]), np.array([1.0, 2.0]))
    for columns in ([], [0], [1]):
        found, along = find_discontinuities(lambda rows: [np.zeros((len(rows), 1))], sample, columns)
        assert len(found) == len(along) == 0
