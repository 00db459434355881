"""What each method needs of its caller: the one table from methods to rights.

The engine asks for a credential before every call, but for open methods. The guard checks the
right of control methods; the engines check that of predictions, once they have read which model a
message is for. Typed services come and go with their models, so they are not in the table: their
methods are predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import models_pb2
from scorewire_server.control.descriptors import HEALTH, MODELS, REFLECTION
from scorewire_server.engine.access import Principal, Right
from scorewire_server.engine.encodings.methods import INFERENCE, PREDICTION


@dataclass(frozen=True, slots=True)
class Entries:
    """An answer about several models.

    Attributes:
        field: the repeated field with an entry for each model or version.
        name: the field of an entry that names its model.
        total: the field that counts all models together; "" if there is none.
    """

    field: str
    name: str
    total: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a method needs of its caller.

    Attributes:
        credential: whether a caller needs a credential at all.
        right: the right to the model; None if any right will do.
        model: the fields of the request that may name the model: the first one that is not empty does. A
            control method without such a field needs the right to any model.
        entries: of an answer about several models. The caller gets the entries of models to which it has the
            right. A request that names no model then needs the right to any model.
    """

    credential: bool = True
    right: Right | None = None
    model: tuple[str, ...] = ()
    entries: Entries | None = None

    def names(self, request: Message) -> str:
        """The model that a request names; "" if it names none."""
        return next(filter(None, (str(getattr(request, field)) for field in self.model)), "")

    def met_by(self, principal: Principal, model: str) -> bool:
        """Whether a principal has the right to a model."""
        return principal.may_know(model) if self.right is None else principal.may(self.right, model)

    def met_for_any(self, principal: Principal) -> bool:
        """Whether a principal has the right to any model, whether there is one of such a name or not."""
        return any(
            bool(patterns) for right, patterns in principal.rights.items() if self.right in (None, right)
        )

    def met_for_all(self, principal: Principal) -> bool:
        """Whether a principal has the right to all models."""
        return any(
            patterns.everything for right, patterns in principal.rights.items() if self.right in (None, right)
        )


OPEN = Need(credential=False)
_ANY_RIGHT = Need()
_PREDICT = Need(right=Right.PREDICT)
_KNOW = Need(model=("name",))
_CONTROL = Need(right=Right.CONTROL, model=("model",))
_CONTROL_REPOSITORY = Need(right=Right.CONTROL, model=("model_name", "repository_name"))

_STATISTICS = {
    f"/{MODELS}/GetStatistics": Need(
        right=Right.OBSERVE, model=("model",), entries=Entries("routes", "model", total="records")
    ),
    f"/{INFERENCE}/ModelStatistics": Need(
        right=Right.OBSERVE, model=("name",), entries=Entries("model_stats", "name")
    ),
}
_REFLECTION = {f"/{service}/ServerReflectionInfo": _ANY_RIGHT for service in REFLECTION}
NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        f"/{HEALTH}/Check": OPEN,
        f"/{HEALTH}/List": OPEN,
        f"/{HEALTH}/Watch": OPEN,
        f"/{PREDICTION}/Predict": _PREDICT,
        f"/{PREDICTION}/PredictStream": _PREDICT,
        f"/{MODELS}/ListModels": Need(entries=Entries("models", "name")),
        f"/{MODELS}/GetModel": Need(model=("model",)),
        f"/{MODELS}/LoadVersion": _CONTROL,
        f"/{MODELS}/UnloadVersion": _CONTROL,
        f"/{MODELS}/SetAlias": _CONTROL,
        f"/{MODELS}/DeleteAlias": _CONTROL,
        f"/{MODELS}/SetSplit": _CONTROL,
        f"/{MODELS}/SetShadow": _CONTROL,
        f"/{MODELS}/Rollback": _CONTROL,
        f"/{MODELS}/GetServer": _ANY_RIGHT,
        f"/{INFERENCE}/ServerLive": OPEN,
        f"/{INFERENCE}/ServerReady": OPEN,
        f"/{INFERENCE}/ServerMetadata": _ANY_RIGHT,
        f"/{INFERENCE}/ModelReady": _KNOW,
        f"/{INFERENCE}/ModelMetadata": _KNOW,
        f"/{INFERENCE}/ModelConfig": _KNOW,
        f"/{INFERENCE}/ModelInfer": _PREDICT,
        f"/{INFERENCE}/ModelStreamInfer": _PREDICT,
        f"/{INFERENCE}/RepositoryIndex": Need(entries=Entries("models", "name")),
        f"/{INFERENCE}/RepositoryModelLoad": _CONTROL_REPOSITORY,
        f"/{INFERENCE}/RepositoryModelUnload": _CONTROL_REPOSITORY,
        **_STATISTICS,
        **_REFLECTION,
    }
)
# The methods that change something.
CHANGES = frozenset(path for path, need in NEEDS.items() if need.right is Right.CONTROL)
_ALWAYS_OPEN = frozenset(path for path, need in NEEDS.items() if not need.credential)


class OpenParts(Protocol):
    """What the access file opens to callers without a credential."""

    @property
    def reflection(self) -> bool: ...  # noqa: D102

    @property
    def statistics(self) -> bool: ...  # noqa: D102


def open_paths(opened: OpenParts) -> frozenset[str]:
    """The methods that need no credential."""
    paths = _ALWAYS_OPEN
    if opened.reflection:
        paths |= _REFLECTION.keys()
    if opened.statistics:
        paths |= _STATISTICS.keys()
    return paths


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of a method."""

    request: type[Message]
    answer: type[Message]


def _messages() -> Iterator[tuple[str, Messages]]:
    services: tuple[ServiceDescriptor, ...] = (
        models_pb2.DESCRIPTOR.services_by_name["ModelService"],
        inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    )
    for service in services:
        method: MethodDescriptor
        for method in service.methods:
            request, answer = map(_class, (method.input_type, method.output_type))
            yield f"/{service.full_name}/{method.name}", Messages(request, answer)


def _class(descriptor: Any) -> type[Message]:
    found: type[Message] = message_factory.GetMessageClass(descriptor)
    return found


# Of the services whose requests name models.
MESSAGES: Mapping[str, Messages] = MappingProxyType(dict(_messages()))
