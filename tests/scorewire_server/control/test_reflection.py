from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from scorewire_contract.bundle import Bundle
from scorewire_server.control import reflection as reflection_module
from scorewire_server.control.descriptors import SERVICES, File
from scorewire_server.control.reflection import Reflection
from scorewire_server.engine.access import Patterns, Principal, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import StreamMethod
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.errors import TooManyRowsError
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros


def _extending_file() -> File:
    proto = descriptor_pb2.FileDescriptorProto(name="more.proto", package="more", syntax="proto2")
    outer = proto.message_type.add(name="Outer")
    outer.extension_range.add(start=100, end=200)
    inner = outer.nested_type.add(name="Inner")
    for declaring, number in ((proto, 101), (inner, 150)):
        declaring.extension.add(name=f"extra_{number}", extendee=".more.Outer", number=number)
    return File(proto)


async def _asked(reflection: Reflection, *questions: pb.ServerReflectionRequest) -> list[Any]:
    async def messages() -> AsyncIterator[bytes]:
        for question in questions:
            yield question.SerializeToString()

    method = reflection.methods()[0]
    assert isinstance(method, StreamMethod)
    return [
        pb.ServerReflectionResponse.FromString(answer)
        async for answer in method.handler(messages(), CallContext(method.path))
    ]


def _files(answer: pb.ServerReflectionResponse) -> list[str]:
    return [
        descriptor_pb2.FileDescriptorProto.FromString(data).name
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]


async def test_extensions_are_found_by_message_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection_module, "server_files", lambda: {"more.proto": _extending_file()})
    reflection = Reflection(lambda: build_snapshot(()))
    found, nested, none, numbers, named, inside = await _asked(
        reflection,
        *(
            pb.ServerReflectionRequest(
                file_containing_extension=pb.ExtensionRequest(
                    containing_type="more.Outer", extension_number=number
                )
            )
            for number in (101, 150, 102)
        ),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="more.Outer"),
        pb.ServerReflectionRequest(file_containing_symbol="more.extra_101"),
        pb.ServerReflectionRequest(file_containing_symbol="more.Outer.Inner.extra_150"),
    )
    for answer in (found, nested, named, inside):
        assert _files(answer) == ["more.proto"]
    assert none.HasField("error_response")
    assert list(numbers.all_extension_numbers_response.extension_number) == [101, 150]


async def test_typed_services_come_and_go_with_the_snapshot(sum_bundle: Bundle) -> None:
    snapshot = build_snapshot(())
    reflection = Reflection(lambda: snapshot)
    question = pb.ServerReflectionRequest(file_containing_symbol="scorewire.models.sum.v1.SumService.Predict")
    (before,) = await _asked(reflection, question)
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    (during,) = await _asked(reflection, question)
    snapshot = build_snapshot(())
    (after,) = await _asked(reflection, question)
    assert before.HasField("error_response")
    assert _files(during) == ["scorewire/models/sum/v1.proto"]
    assert after.HasField("error_response")


async def test_the_questions_of_a_stream_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflection_module, "MAX_QUESTIONS", 3)
    reflection = Reflection(lambda: build_snapshot(()))
    question = pb.ServerReflectionRequest(list_services="")
    assert len(await _asked(reflection, *[question] * 3)) == 3
    with pytest.raises(TooManyRowsError, match="3 questions"):
        await _asked(reflection, *[question] * 4)


async def test_a_caller_learns_of_the_services_of_its_own_models_only(sum_bundle: Bundle) -> None:
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    service = "scorewire.models.sum.v1.SumService"
    questions = (
        pb.ServerReflectionRequest(list_services=""),
        pb.ServerReflectionRequest(file_containing_symbol=service),
        pb.ServerReflectionRequest(file_by_filename="scorewire/models/sum/v1.proto"),
    )
    callers: list[Principal | None] = [None]
    reflection = Reflection(lambda: snapshot, lambda _: callers[0])
    for callers[0], knows in (
        (None, True),
        (Principal("shop", {Right.PREDICT: Patterns(frozenset({"sum"}))}), True),
        (Principal("game", {Right.OBSERVE: Patterns(prefixes=("game-",))}), False),
        (Principal("shop", {Right.CONTROL: Patterns(prefixes=("s",))}), True),
    ):
        listed, by_symbol, by_name = await _asked(reflection, *questions)
        names = [each.name for each in listed.list_services_response.service]
        assert (service in names) == knows
        assert set(SERVICES) <= set(names)
        for answer in (by_symbol, by_name):
            assert bool(_files(answer)) == knows
            assert bool(answer.error_response.error_code) != knows


async def test_the_descriptions_that_are_kept_are_bounded() -> None:
    snapshot = build_snapshot(())
    caller = Principal("shop")
    reflection = Reflection(lambda: snapshot, lambda _: caller)
    for number in range(3 * reflection_module._MOST_KEPT):
        caller = Principal("shop", {Right.PREDICT: Patterns(frozenset({f"model-{number}"}))})
        await _asked(reflection, pb.ServerReflectionRequest(list_services=""))
        assert len(reflection._by_rights) <= reflection_module._MOST_KEPT
