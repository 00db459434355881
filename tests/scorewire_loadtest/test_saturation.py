from __future__ import annotations

from dataclasses import replace

import pytest

from scorewire_loadtest.results import Results
from scorewire_loadtest.saturation import reasons
from tests.scorewire_loadtest.test_report import RESULTS


def measured(**generator: object) -> Results:
    return replace(RESULTS, generator=replace(RESULTS.generator, **generator))


def test_a_generator_with_time_to_spare_is_not_saturated() -> None:
    assert reasons(RESULTS) == []
    assert reasons(measured(busy=0.89, queued=0.005)) == []


@pytest.mark.parametrize(
    ("generator", "told"),
    [
        ({"busy": 0.97}, "on a core 97%"),
        ({"busy": 0.97, "queued": None}, "in the run queue 0%"),
        # Its CPU share alone looks idle.
        ({"busy": 0.3, "queued": 0.65}, "at work or waiting for a core 95% of the time"),
        ({"busy": 0.1, "queued": 0.2}, "had no core 20% of the time"),
        ({"late": 900}, "900 calls left more than 1.00 ms late"),
        # However many calls the server held up beside them.
        ({"late": 900, "held": 3_000}, "900 calls left more than 1.00 ms late"),
        ({"lag_us": {50.0: 61.0, 99.0: 2_100.0}}, "At p99 it handled an event 2.10 ms late"),
    ],
)
def test_each_sign_of_saturation_is_told(generator: dict[str, object], told: str) -> None:
    (reason,) = reasons(measured(**generator))
    assert told in reason


def test_lag_counts_only_beside_the_latency() -> None:
    assert reasons(measured(lag_us={50.0: 61.0, 99.0: 2_000.0})) == []
    # A timer of the system is this late.
    fast = replace(measured(lag_us={50.0: 60.0, 99.0: 900.0}), latency_us={50.0: 40.0, 99.0: 100.0})
    assert reasons(fast) == []
    assert reasons(replace(fast, latency_us={})) == []


def test_a_server_that_holds_calls_up_does_not_saturate_the_generator() -> None:
    assert reasons(measured(late=0, held=3_000, unsent=500)) == []
