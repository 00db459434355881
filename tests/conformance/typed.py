"""Calls typed services without generated code, with schemas from reflection."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2

from scorewire_server.engine.snapshot import LoadedVersion
from tests.conformance.wire import TIMEOUT_SECONDS, Wire

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def reflect(wire: Wire, **question: Any) -> reflection_pb2.ServerReflectionResponse:
    """One response of reflection."""
    request = reflection_pb2.ServerReflectionRequest(**question).SerializeToString()
    (answer,) = wire.both_stream(REFLECTION)(iter([request]), timeout=TIMEOUT_SECONDS)
    return reflection_pb2.ServerReflectionResponse.FromString(answer)


def told_files(answer: reflection_pb2.ServerReflectionResponse) -> list[descriptor_pb2.FileDescriptorProto]:
    """The files in a response: the file that was asked for, and its imports."""
    return [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]


def described(wire: Wire, symbol: str) -> descriptor_pool.DescriptorPool:
    """The files that a client needs to call a service, complete with their imports."""
    pool = descriptor_pool.DescriptorPool()
    files = {file.name: file for file in told_files(reflect(wire, file_containing_symbol=symbol))}
    added = set[str]()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            pool.Add(files[name])

    for name in files:
        add(name)
    return pool


class TypedService:
    """A typed service and its messages."""

    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self.name = name
        (data,) = reflect(wire, file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        self.file = descriptor_pb2.FileDescriptorProto.FromString(data)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(self.file)
        service = pool.FindServiceByName(name)
        self._types = {
            method.name: tuple(map(message_factory.GetMessageClass, (method.input_type, method.output_type)))
            for method in service.methods
        }

    def path(self, method: str) -> str:
        return f"/{self.name}/{method}"

    def row(self, **fields: Any) -> Any:
        return self._types["Predict"][0](**fields)

    def predict(self, metadata: Any = None, **fields: Any) -> Any:
        """The prediction for one row."""
        data = self._wire.call(
            self.path("Predict"), self.row(**fields).SerializeToString(), metadata=metadata
        )
        return self._types["Predict"][1].FromString(data)

    def predict_batch(self, *rows: dict[str, Any], metadata: Any = None) -> list[Any]:
        """The predictions for many rows."""
        request, response = self._types["PredictBatch"]
        data = request(rows=rows).SerializeToString()
        data = self._wire.call(self.path("PredictBatch"), data, metadata=metadata)
        return list(response.FromString(data).predictions)

    def predict_stream(self, *rows: dict[str, Any]) -> list[Any]:
        """The predictions for rows that are sent one by one."""
        messages = (self.row(**row).SerializeToString() for row in rows)
        answers = self._wire.both_stream(self.path("PredictStream"))(messages, timeout=TIMEOUT_SECONDS)
        return [self._types["PredictStream"][1].FromString(data) for data in answers]


class TypedMessages:
    """The messages of a version's typed service, from its schema."""

    def __init__(self, version: LoadedVersion) -> None:
        schema = version.typed.schema
        pool = descriptor_pool.DescriptorPool()
        pool.Add(schema.descriptor())
        self.path = f"/{schema.service}"

        def message(name: str) -> Any:
            found = pool.FindMessageTypeByName(f"{schema.package}.{schema.stem}{name}")
            return message_factory.GetMessageClass(found)

        self.row, self.rows = message("Row"), message("Rows")
        self.prediction, self.predictions = message("Prediction"), message("Predictions")
