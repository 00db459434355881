from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scorewire_loadtest.pacing import Constant, Poisson

RATES = st.floats(min_value=0.01, max_value=1e6)


@settings(deadline=None)
@given(rate=RATES, index=st.integers(0, 10_000))
def test_constant_pacing_never_drifts(rate: float, index: int) -> None:
    found = next(islice(Constant(rate).times_ns(), index, None))
    assert abs(found - index * 1e9 / rate) <= 0.5 + index * 1e9 / rate * 1e-12


@settings(deadline=None)
@given(rate=RATES)
def test_constant_distances_differ_by_rounding_alone(rate: float) -> None:
    times = list(islice(Constant(rate).times_ns(), 200))
    assert times[0] == 0
    distances = [after - before for before, after in pairwise(times)]
    assert max(distances) - min(distances) <= 2


@settings(deadline=None)
@given(rate=RATES, seed=st.integers(0, 2**32))
def test_poisson_times_ascend_and_repeat_with_their_seed(rate: float, seed: int) -> None:
    times = list(islice(Poisson(rate, seed).times_ns(), 200))
    assert times == sorted(times)
    assert times[0] >= 0
    assert times == list(islice(Poisson(rate, seed).times_ns(), 200))
    assert times != list(islice(Poisson(rate, seed + 1).times_ns(), 200))


def test_poisson_distances_have_the_mean_and_spread_of_an_exponential() -> None:
    times = np.fromiter(islice(Poisson(500.0, seed=3).times_ns(), 50_000), dtype=np.int64)
    distances = np.diff(times) / 1e9
    assert abs(distances.mean() * 500 - 1) < 0.02
    assert abs(distances.std() * 500 - 1) < 0.02
    # The counts in equal windows have a variance equal to their mean.
    counts = np.bincount(times // 100_000_000)[:-1]
    assert abs(counts.var() / counts.mean() - 1) < 0.2
