"""The limits of principals, in Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.rpc import error_details_pb2

from scorewire_server.engine.access import Principal, PrincipalLimits, Rate
from scorewire_server.engine.interpreted.failures import caller_limit
from scorewire_server.engine.interpreted.limits import CallerLimits, Gcra, retry_seconds
from scorewire_server.errors import CallerLimitError, OverloadedError, to_status

SECOND = 1_000_000_000
# Both engines read these.
TRACES = Path(__file__).parents[4] / "server" / "native" / "src" / "access" / "rate_traces.txt"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def principal(name: str = "shop", **limits: object) -> Principal:
    return Principal(name, limits=PrincipalLimits(**limits))  # type: ignore[arg-type]


def limits_of(*principals: Principal, max_in_flight: int = 100) -> tuple[CallerLimits, Clock]:
    clock = Clock()
    limits = CallerLimits(max_in_flight, clock)
    limits.use({each.name: each for each in principals})
    return limits, clock


def test_a_burst_is_there_at_once_and_then_the_rate() -> None:
    shop = principal(calls=Rate(10, 3))
    limits, clock = limits_of(shop)
    for _ in range(3):
        limits.take_call(shop)
    with pytest.raises(CallerLimitError) as refused:
        limits.take_call(shop)
    assert refused.value.retry_seconds == 0.1
    clock.now += SECOND // 10
    limits.take_call(shop)
    with pytest.raises(CallerLimitError):
        limits.take_call(shop)
    counts = limits.counts["shop"]
    assert (counts.calls, counts.refused["calls"]) == (4, 2)


def test_any_whole_burst_is_there_at_once() -> None:
    for per_second in (0.001, 3, 7, 1000 / 3, 999_983):
        for burst in (1, 2, 3, 10, 97):
            gcra = Gcra()
            rate = Rate(per_second, burst)
            assert [gcra.take(rate, 77) for _ in range(burst)] == [0] * burst
            assert gcra.take(rate, 77) > 0


def test_the_same_is_taken_as_in_the_native_engine() -> None:
    gcra, rate, takes = Gcra(), Rate(1, 1), 0
    for line in TRACES.read_text(encoding="utf-8").splitlines():
        match line.split(" "):
            case ["trace", per_second, burst]:
                gcra, rate = Gcra(), Rate(float(per_second), float(burst))
            case ["rate", now, per_second, burst]:
                changed = Rate(float(per_second), float(burst))
                gcra.convert(rate, changed, int(now))
                rate = changed
            case ["take", now, count, wait, "-"]:
                before = gcra.state
                assert gcra.take(rate, int(now), int(count)) == int(wait), line
                assert gcra.state == before
                takes += 1
            case ["take", now, count, state]:
                assert gcra.take(rate, int(now), int(count)) == 0, line
                assert gcra.state == int(state), line
                takes += 1
    assert takes > 400


def test_rows_may_leave_a_debt_which_is_waited_for() -> None:
    shop = principal(rows=Rate(10, 5))
    limits, clock = limits_of(shop)
    limits.take_rows(shop, 4)
    limits.take_rows(shop, 100)
    with pytest.raises(CallerLimitError) as refused:
        limits.take_rows(shop, 1)
    # 104 of which 5 were there, and one more.
    assert refused.value.retry_seconds == 10.0
    clock.now += 10 * SECOND
    limits.take_rows(shop, 1)
    assert limits.counts["shop"].rows == 105


def test_no_rate_and_no_count_is_too_large() -> None:
    for rate in (Rate(1e-12, 1), Rate(1e-12, 1e12), Rate(1e12, 1e-3), Rate(1, 1e300)):
        gcra = Gcra()
        for count in (1, 2**32):
            assert 0 <= gcra.take(rate, 2**63, count) < 2**64
            assert 0 <= gcra.state < 2**64


def test_a_principal_has_as_many_open_calls_as_it_may() -> None:
    shop = principal(in_flight=1)
    limits, _ = limits_of(shop)
    with limits.admitted(shop):
        with pytest.raises(CallerLimitError) as refused, limits.admitted(shop):
            pass
        assert refused.value.retry_seconds == 0.05
    with limits.admitted(shop):
        pass
    assert limits.counts["shop"].refused["in_flight"] == 1


def test_what_was_taken_stays_taken_when_the_access_file_changes() -> None:
    shop, game = principal(calls=Rate(0.001, 1)), principal("game")
    limits, _ = limits_of(shop)
    limits.take_call(shop)
    limits.use({"shop": shop, "game": game})
    with pytest.raises(CallerLimitError):
        limits.take_call(shop)
    limits.use({"game": game})
    assert list(limits.counts) == ["game"]
    # A call that is still open.
    limits.take_call(shop)
    limits.use({"shop": shop})
    limits.take_call(shop)
    assert limits.counts["shop"].calls == 1


def test_another_rate_is_owed_as_many_calls_and_not_as_much_time() -> None:
    limits, _ = limits_of(slow := principal(calls=Rate(0.001, 3)))
    for _ in range(3):
        limits.take_call(slow)
    limits.use({"shop": (fast := principal(calls=Rate(10, 3)))})
    with pytest.raises(CallerLimitError) as refused:
        limits.take_call(fast)
    assert refused.value.retry_seconds == 0.1


def test_places_are_shared_by_weight_once_half_are_taken() -> None:
    shop, game = principal(share=3), principal("game")
    limits, clock = limits_of(shop, game, max_in_flight=8)

    def fits(one: Principal, held: int, taken: int) -> bool:
        """Whether a principal that holds so many places gets one more, where so many are taken by all."""
        if not held:
            try:
                with limits.place(one, taken):
                    return True
            except OverloadedError:
                return False
        with limits.place(one, 0):
            return fits(one, held - 1, taken)

    limits.take_call(shop)
    assert fits(shop, 7, 7)
    limits.take_call(game)
    assert fits(shop, 5, 7)
    assert not fits(shop, 6, 7)
    assert fits(shop, 7, 4)
    assert fits(game, 1, 7)
    assert not fits(game, 2, 7)
    clock.now += 2 * SECOND
    limits.take_call(shop)
    assert fits(shop, 7, 7)
    assert limits.counts["shop"].refused["share"] == 1


def test_retry_times_are_whole_milliseconds_rounded_up() -> None:
    assert [retry_seconds(ns) for ns in (1, 999_999, 1_000_000, 1_000_001)] == [0.001, 0.001, 0.001, 0.002]
    for milliseconds in (*range(1, 3000), 86_400_000, 10**9 + 7):
        status = to_status(caller_limit(retry_seconds(milliseconds * 1_000_000)))
        detail = status.details[-1]
        retry = error_details_pb2.RetryInfo()
        assert detail.Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == milliseconds
