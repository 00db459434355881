from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from scipy import stats

from scorewire_server.engine.split import _RECORDS_SEED, _minus_ln, pick, point_of, samples, seed_of


def _targets(**weights: int) -> list[tuple[int, int]]:
    return [(seed_of("m", version), weight) for version, weight in weights.items()]


def test_the_same_key_gets_the_same_version_everywhere() -> None:
    # Fixed values, since every engine, machine and release must compute the same.
    assert point_of("customer-17") == 0x113AD1354B5408DC
    assert seed_of("repurchase", "1.0.0") == 0xE1AD14173BBF4D39
    targets = [(seed_of("repurchase", version), weight) for version, weight in (("1.0.0", 90), ("1.1.0", 10))]
    found = "".join(str(pick(point_of(f"key-{i}"), targets)) for i in range(64))
    assert found == "1000000000000000000000001000000001000001000100001000000000000101"


def test_the_same_keys_are_recorded_everywhere() -> None:
    # The same keys as in the tests of routing/split.rs.
    assert point_of("scorewire.records") == _RECORDS_SEED

    def kept(share: float) -> str:
        return "".join(str(int(samples(f"key-{i}", share))) for i in range(64))

    assert kept(0.1) == "1000100000000001000010000000000000001000010000000000100000000000"
    assert kept(0.5) == "1101100000101101010110000001001111001000110101011101100101011000"
    assert (kept(0.0), kept(1.0)) == ("0" * 64, "1" * 64)


@pytest.mark.parametrize("weights", [(90, 10), (1, 1, 1), (5, 3, 2, 990)])
def test_shares_follow_the_weights(weights: tuple[int, ...]) -> None:
    count = 20_000
    targets = [(seed_of("m", f"1.{i}.0"), weight) for i, weight in enumerate(weights)]
    found = Counter(pick(point_of(f"user:{i}"), targets) for i in range(count))
    expected = [count * weight / sum(weights) for weight in weights]
    assert stats.chisquare([found[i] for i in range(len(weights))], expected).pvalue > 0.001


def test_a_changed_weight_moves_only_the_keys_that_it_must() -> None:
    before, after = _targets(a=90, b=10, c=50), _targets(a=90, b=40, c=50)
    moves = Counter((pick(point_of(str(i)), before), pick(point_of(str(i)), after)) for i in range(5000))
    moved = {pair for pair in moves if pair[0] != pair[1]}
    assert moved == {(0, 1), (2, 1)}


def test_a_version_that_goes_gives_its_keys_away_and_moves_no_others() -> None:
    both, rest = _targets(a=90, b=10, c=50), _targets(a=90, b=10)
    for i in range(2000):
        point = point_of(str(i))
        kept = pick(point, both)
        assert kept == 2 or pick(point, rest) == kept


def test_splits_of_two_models_are_independent() -> None:
    table = Counter(
        tuple(
            pick(point_of(str(i)), [(seed_of(model, "1"), 1), (seed_of(model, "2"), 1)])
            for model in ("a", "b")
        )
        for i in range(4000)
    )
    assert stats.chisquare(list(table.values())).pvalue > 0.001


def test_the_logarithm_is_a_good_one() -> None:
    draw = random.Random(0)
    for u in [2.0**-53, 1 - 2.0**-53, 0.5, *(draw.random() for _ in range(2000))]:
        assert math.isclose(_minus_ln(u), -math.log(u), rel_tol=1e-14, abs_tol=1e-15)
