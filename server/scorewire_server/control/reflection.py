"""gRPC server reflection, so that tools can call the server without its .proto files.

The versions v1 and v1alpha differ only in the name of their package, so the same
messages serve both. Typed services come and go with the snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as pb

from scorewire_contract.patterns import Patterns
from scorewire_contract.typed import TypedSchema
from scorewire_server.control.descriptors import REFLECTION, SERVICES, File, server_files
from scorewire_server.engine.access import Principal
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.port import ControlMethod, StreamMethod
from scorewire_server.engine.snapshot import Snapshot
from scorewire_server.errors import MalformedMessageError, TooManyRowsError

_METHOD = "ServerReflectionInfo"
# Tools ask a few hundred questions at most, and every name here is shorter than this.
MAX_QUESTIONS = 10_000
MAX_QUESTION_BYTES = 4096
# Of one snapshot: the descriptions for callers with different rights.
_MOST_KEPT = 64

_Answer: TypeAlias = pb.ServerReflectionResponse
_Question: TypeAlias = pb.ServerReflectionRequest


class Reflection:
    """Describes the services of the server, and the typed services of the models that the caller may know.

    Args:
        snapshot: gives the current snapshot.
        caller: gives the principal of a call, as it is now; None if the caller may know all models.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        caller: Callable[[CallContext], Principal | None] = lambda _: None,
    ) -> None:
        self._files = server_files()
        self._snapshot = snapshot
        self._caller = caller
        self._described: Snapshot | None = None
        self._typed: list[tuple[str, TypedSchema, dict[str, File]]] = []
        # By the models that a caller may know; None is all.
        self._by_rights: dict[frozenset[Patterns] | None, _Described] = {}

    def methods(self) -> list[ControlMethod]:
        """ServerReflectionInfo in both versions."""
        return [StreamMethod(f"/{service}/{_METHOD}", self._info) for service in REFLECTION]

    async def _info(self, messages: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        asked = 0
        async for data in messages:
            asked += 1
            if asked > MAX_QUESTIONS:
                raise TooManyRowsError(
                    f"one reflection stream takes {MAX_QUESTIONS} questions; begin another"
                )
            # Each question is answered from the current snapshot, which may change during a stream.
            yield self._answer(data, self._caller(context)).SerializeToString()

    def _answer(self, data: bytes, principal: Principal | None) -> _Answer:
        if len(data) > MAX_QUESTION_BYTES:
            message = f"a question has at most {MAX_QUESTION_BYTES} bytes"
            return _failed(_Question(), grpc.StatusCode.INVALID_ARGUMENT, message)
        try:
            question = _Question.FromString(data)
        except DecodeError:
            raise MalformedMessageError("the message does not parse as ServerReflectionRequest") from None
        return self._known(principal).answer(question)

    def _known(self, principal: Principal | None) -> _Described:
        """What a principal may know of the current snapshot."""
        snapshot = self._snapshot()
        if snapshot is not self._described:
            self._described = snapshot
            self._by_rights = {}
            # A service is described under its former name too, but not listed.
            services = {id(service): service for service in snapshot.services.values()}
            self._typed = [
                (
                    service.model,
                    service.newest.typed.schema,
                    {proto.name: File(proto) for proto in service.newest.typed.files.values()},
                )
                for service in services.values()
            ]
        rights = None if principal is None else frozenset(principal.rights.values())
        found = self._by_rights.get(rights)
        if found is None:
            if len(self._by_rights) >= _MOST_KEPT:
                self._by_rights = {}
            known = [each for each in self._typed if principal is None or principal.may_know(each[0])]
            files = {name: file for _, _, typed in known for name, file in typed.items()}
            listed = [schema.service for _, schema, _ in known]
            found = self._by_rights[rights] = _Described((*SERVICES, *listed), self._files | files)
        return found


class _Described:
    """The answers of a server with these services and files."""

    def __init__(self, services: Iterable[str], files: dict[str, File]) -> None:
        self._services = sorted(services)
        self._files = files
        self._by_package: dict[str, list[File]] = {}
        for file in files.values():
            self._by_package.setdefault(file.proto.package, []).append(file)

    def answer(self, question: _Question) -> _Answer:
        """The answer to one question, be it an error."""
        match question.WhichOneof("message_request"):
            case "list_services":
                answer = _Answer(original_request=question)
                for name in self._services:
                    answer.list_services_response.service.add(name=name)
                return answer
            case "file_by_filename":
                return self._answer_with_file(question, self._files.get(question.file_by_filename))
            case "file_containing_symbol":
                return self._answer_with_file(question, self._declaring(question.file_containing_symbol))
            case "file_containing_extension":
                asked = question.file_containing_extension
                extension = asked.containing_type, asked.extension_number
                found = (file for file in self._files.values() if extension in file.extensions)
                return self._answer_with_file(question, next(found, None))
            case "all_extension_numbers_of_type":
                return self._extensions(question, question.all_extension_numbers_of_type)
            case _:
                return _failed(question, grpc.StatusCode.INVALID_ARGUMENT, "the question asks nothing")

    def _declaring(self, symbol: str) -> File | None:
        # Looks only at files of the symbol's package, since there may be very many models.
        package = symbol
        while package:
            package = package.rpartition(".")[0]
            for file in self._by_package.get(package, ()):
                if symbol in file.symbols:
                    return file
        return None

    def _extensions(self, question: _Question, message: str) -> _Answer:
        declaring = self._declaring(message)
        if declaring is None or message not in declaring.messages:
            return _not_found(question)
        answer = _Answer(original_request=question)
        response = answer.all_extension_numbers_response
        response.base_type_name = message
        response.extension_number.extend(
            sorted(
                number for file in self._files.values() for name, number in file.extensions if name == message
            )
        )
        return answer

    def _answer_with_file(self, question: _Question, file: File | None) -> _Answer:
        """Answer with a file and, after it, all files that it imports."""
        if file is None:
            return _not_found(question)
        names, files = [file.proto.name], [file]
        for each in files:
            for name in each.proto.dependency:
                if name in self._files and name not in names:
                    names.append(name)
                    files.append(self._files[name])
        answer = _Answer(original_request=question)
        answer.file_descriptor_response.file_descriptor_proto.extend(each.data for each in files)
        return answer


def _not_found(question: _Question) -> _Answer:
    return _failed(question, grpc.StatusCode.NOT_FOUND, "this server has no such file, symbol or extension")


def _failed(question: _Question, code: grpc.StatusCode, message: str) -> _Answer:
    answer = _Answer(original_request=question)
    answer.error_response.error_code = code.value[0]
    answer.error_response.error_message = message
    return answer
