"""The gate that every call of the reference engine passes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scorewire_contract.bundle import Bundle
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import PREDICT, PREDICT_STREAM
from scorewire_server.engine.reference.admission import Admission
from scorewire_server.engine.reference.engine import ReferenceEngine
from scorewire_server.errors import ControlOffError, code_and_reason
from tests.conformance.wire import PREDICT as PREDICT_PATH
from tests.scorewire_server.engine.noting import STREAM, UNARY, Notes
from tests.scorewire_server.engine.running import TYPED_PATH, Start, failure_of, starting
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def start(notes: Notes) -> AsyncIterator[Start]:
    async with starting(lambda settings: ReferenceEngine(settings, notes.methods())) as start_one:
        yield start_one


async def test_every_call_passes_one_gate_before_its_first_message(
    start: Start, notes: Notes, sum_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start()
    running.engine.publish(snapshot_of(loaded_version(sum_bundle, zeros)))
    asked: list[str] = []

    async def refuse(_: Admission, context: CallContext, **_more: object) -> None:
        asked.append(context.method)
        raise ControlOffError("not you")

    monkeypatch.setattr(Admission, "admit", refuse)
    for path in (PREDICT_PATH, TYPED_PATH, UNARY):
        # The bytes do not parse, and nothing has tried to parse them.
        assert (await failure_of(running.unary(b"\xff", path))).reason == "CONTROL_OFF"
    for stream in (running.stream(), running.stream(STREAM)):
        assert (await failure_of(stream.read())).reason == "CONTROL_OFF"
    assert len(asked) == 5
    assert notes.contexts == []
    # Refused predictions are failed predictions; control calls are not counted.
    refused = {code_and_reason(ControlOffError("")): 1}
    counted = running.engine.statistics.calls.items()
    assert {key: each.failed for key, each in counted if each.failed} == {
        ("", "", PREDICT): refused,
        ("", "", "TypedPredict"): refused,
        ("", "", PREDICT_STREAM): refused,
    }
    assert running.engine.statistics.streams == 0
