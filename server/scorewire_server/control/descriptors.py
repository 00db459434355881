"""The protobuf files that reflection describes, and the symbols that each of them declares.

Two parts are missing from the packages that the server is built on, so they are made
here: the method List of grpc.health.v1.Health, and the file of grpc.reflection.v1,
which differs from v1alpha only in the name of its package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import errors_pb2, models_pb2, prediction_pb2
from scorewire_server.engine.encodings.methods import INFERENCE, PREDICTION

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
MODELS = models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = (f"{_V1}.ServerReflection", f"{_ALPHA}.ServerReflection")
# The services of every server; the typed services of its models come on top.
SERVICES = (PREDICTION, MODELS, INFERENCE, HEALTH, *REFLECTION)
# The files that describe the services and the details of a failure.
_DESCRIBED = (prediction_pb2, models_pb2, inference_pb2, errors_pb2, status_pb2, error_details_pb2)


@dataclass(frozen=True)
class File:
    """A protobuf file, with the names that it declares and the messages that it extends."""

    proto: descriptor_pb2.FileDescriptorProto

    @cached_property
    def data(self) -> bytes:
        """The file as reflection sends it."""
        return self.proto.SerializeToString()

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The full names of everything that the file declares: messages, fields, enums, methods and so on."""
        return frozenset(_symbols(self.proto))

    @cached_property
    def messages(self) -> frozenset[str]:
        """The full names of the file's messages."""
        return frozenset(name for name, _ in _messages(self.proto.package, self.proto.message_type))

    @cached_property
    def extensions(self) -> frozenset[tuple[str, int]]:
        """The extended message and the field number of each extension."""
        nested = (each for _, message in _messages("", self.proto.message_type) for each in message.extension)
        return frozenset(
            (each.extendee.removeprefix("."), each.number) for each in (*self.proto.extension, *nested)
        )


def server_files() -> dict[str, File]:
    """The files of the services of every server, and the files that those import, by name."""
    protos: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in _DESCRIBED:
        _add(protos, module.DESCRIPTOR)
    for proto in (health_file(), _as_proto(reflection_pb2.DESCRIPTOR), _reflection_v1_file()):
        protos[proto.name] = proto
    return {name: File(proto) for name, proto in protos.items()}


def health_file() -> descriptor_pb2.FileDescriptorProto:
    """grpc/health/v1/health.proto with the method List, which older packages lack."""
    proto = _as_proto(health_pb2.DESCRIPTOR)
    (service,) = proto.service
    if any(method.name == "List" for method in service.method):
        return proto
    package = f".{proto.package}"
    proto.message_type.add(name="HealthListRequest")
    response = proto.message_type.add(name="HealthListResponse")
    entry = response.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, descriptor_pb2.FieldDescriptorProto.TYPE_STRING)
    value = _add_field(entry, "value", 2, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE)
    value.type_name = f"{package}.HealthCheckResponse"
    statuses = _add_field(response, "statuses", 1, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE)
    statuses.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    statuses.type_name = f"{package}.HealthListResponse.StatusesEntry"
    service.method.add(
        name="List",
        input_type=f"{package}.HealthListRequest",
        output_type=f"{package}.HealthListResponse",
    )
    return proto


def _reflection_v1_file() -> descriptor_pb2.FileDescriptorProto:
    proto = _as_proto(reflection_pb2.DESCRIPTOR)
    proto.name, proto.package = "grpc/reflection/v1/reflection.proto", _V1
    proto.ClearField("options")
    for message in proto.message_type:
        for field in (each for each in message.field if each.type_name):
            field.type_name = field.type_name.replace(_ALPHA, _V1)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, _V1)
            method.output_type = method.output_type.replace(_ALPHA, _V1)
    return proto


def _add(protos: dict[str, descriptor_pb2.FileDescriptorProto], file: FileDescriptor) -> None:
    if file.name not in protos:
        protos[file.name] = _as_proto(file)
        for dependency in file.dependencies:
            _add(protos, dependency)


def _as_proto(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: Any) -> Any:
    label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    return message.field.add(name=name, json_name=name, number=number, label=label, type=kind)


def _symbols(proto: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    yield from _scope(proto.package, proto.enum_type, proto.extension)
    for service in proto.service:
        name = _qualified(proto.package, service.name)
        yield name
        yield from (_qualified(name, method.name) for method in service.method)
    for name, message in _messages(proto.package, proto.message_type):
        yield name
        yield from (_qualified(name, each.name) for each in (*message.field, *message.oneof_decl))
        yield from _scope(name, message.enum_type, message.extension)


def _scope(scope: str, enums: Iterable[Any], extensions: Iterable[Any]) -> Iterator[str]:
    """The full names of enums, their values and extensions; protobuf scopes values beside their enum."""
    for enum in enums:
        yield _qualified(scope, enum.name)
        yield from (_qualified(scope, value.name) for value in enum.value)
    yield from (_qualified(scope, each.name) for each in extensions)


def _messages(scope: str, messages: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Messages with their full names, nested messages included."""
    for message in messages:
        name = _qualified(scope, message.name)
        yield name, message
        yield from _messages(name, message.nested_type)


def _qualified(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
