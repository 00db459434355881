"""The counter of predictions keeps what versions counted that no longer serve, within a bound."""

from __future__ import annotations

from dataclasses import replace

from scorewire_contract.bundle import Bundle
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import METHODS, PREDICT
from scorewire_server.engine.interpreted.counting import MAX_KEPT, PredictionCounter
from scorewire_server.engine.interpreted.observer import Prediction
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.errors import ModelNotFoundError, code_and_reason
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros


def _fail(counter: PredictionCounter, version: LoadedVersion | None) -> None:
    context = CallContext(METHODS[0].path)
    prediction = Prediction(METHODS[0], context, 0)
    prediction.version, prediction.failure = version, code_and_reason(ModelNotFoundError(""))
    prediction.ended_ns = context.received_ns + 1_000
    counter.observe(prediction)


def test_counts_of_versions_that_left_are_bounded_and_those_without_a_version_stay(
    sum_bundle: Bundle,
) -> None:
    counter, first = PredictionCounter(), loaded_version(sum_bundle, zeros)
    for number in range(MAX_KEPT + 10):
        version = replace(first, version=f"1.{number}.0")
        counter.publish(snapshot_of(version))
        _fail(counter, version)
        _fail(counter, None)
        told = counter.statistics.calls
        assert told.keys() == {("sum", version.version, PREDICT), ("", "", PREDICT)}
        assert told["", "", PREDICT].durations.sum_ns == (number + 1) * 1_000
    assert len(counter.counts.calls) == MAX_KEPT + 2
    counts = {}
    for number in (0, 20):
        version = replace(first, version=f"1.{number}.0")
        counter.publish(snapshot_of(version))
        _fail(counter, version)
        (counted,) = (
            each for key, each in counter.statistics.calls.items() if key.version == version.version
        )
        counts[number] = sum(counted.failed.values())
    # The first one was forgotten.
    assert counts == {0: 1, 20: 2}
    _fail(counter, replace(first, version="1.1.0"))
    assert ("sum", "1.1.0", PREDICT) in counter.counts.calls
    counter.publish(snapshot_of(first))
    assert ("sum", "1.1.0", PREDICT) not in counter.counts.calls
