"""Observers learn of every prediction, once, with all that is known of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

import pytest

from scorewire_contract.bundle import Bundle
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import METHODS
from scorewire_server.engine.interpreted.observer import Observer, Prediction
from scorewire_server.engine.interpreted.predictor import Limits, Predictor
from scorewire_server.errors import CallError, DeadlineExceededError, ModelNotFoundError, code_and_reason
from scorewire_server.settings import Settings
from tests.scorewire_server.engine.running import MESSAGE, REQUEST
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

PREDICT, PREDICT_STREAM = METHODS[:2]


class Record:
    """A third sink of predictions."""

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []

    def observe(self, prediction: Prediction) -> None:
        self.predictions.append(prediction)


@pytest.fixture
def predictor() -> Iterator[Predictor]:
    predictor = Predictor(Limits.of(Settings()), ThreadPoolExecutor(1))
    yield predictor
    predictor.close()


@pytest.fixture
def record(predictor: Predictor) -> Record:
    record = Record()
    observers: tuple[Observer, ...] = (*predictor._observers, record)
    predictor._observers = observers
    return record


async def test_an_answered_message_is_told_with_all_that_is_known_of_it(
    predictor: Predictor, record: Record, sum_bundle: Bundle
) -> None:
    version = loaded_version(sum_bundle, zeros)
    predictor.publish(snapshot_of(version))
    context = CallContext(PREDICT.path)
    await predictor.answer(PREDICT, context, REQUEST)
    (told,) = record.predictions
    assert told.method is PREDICT
    assert told.context is context
    assert told.message_bytes == len(REQUEST)
    assert told.route is not None
    assert (told.route.model, told.route.name) == ("sum", "")
    assert told.version is version
    assert told.request is not None
    assert told.request.row_count == 1
    assert told.scores is not None
    assert [values.tolist() for values in told.scores.outputs] == [[[0.0]]]
    assert told.scores.errors == []
    assert told.failure is None
    assert told.began_ns <= told.decoded_ns <= told.scored_ns <= told.ended_ns


async def test_a_failure_is_told_once_and_with_its_call(predictor: Predictor, record: Record) -> None:
    with pytest.raises(ModelNotFoundError):
        await predictor.answer(PREDICT, CallContext(PREDICT.path), REQUEST)
    await predictor.answer(PREDICT_STREAM, CallContext(PREDICT_STREAM.path), MESSAGE)
    for told, method in zip(record.predictions, (PREDICT, PREDICT_STREAM), strict=True):
        assert told.method is method
        assert told.failure == code_and_reason(ModelNotFoundError(""))
        assert told.version is told.scores is None


async def test_a_message_that_failed_is_freed_without_the_garbage_collector(predictor: Predictor) -> None:
    class Message(bytes):
        """Bytes that say when they are freed."""

        def __del__(self) -> None:
            freed.append(len(self))

    freed: list[int] = []
    gc.disable()
    try:
        for method, data in ((PREDICT, REQUEST), (PREDICT, b"\xff"), (PREDICT_STREAM, MESSAGE)):
            with suppress(CallError):
                await predictor.answer(method, CallContext(method.path), Message(data))
        assert freed == [len(REQUEST), 1, len(MESSAGE)]
    finally:
        gc.enable()


async def test_an_expired_call_is_not_decoded(predictor: Predictor) -> None:
    context = CallContext(PREDICT.path, deadline=monotonic())
    with pytest.raises(DeadlineExceededError):
        await predictor.answer(PREDICT, context, b"\xff")
