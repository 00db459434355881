"""What a server says of its models, as objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from scorewire_contract.typed import typed_schema
from scorewire_proto.v1 import models_pb2, schema_pb2

_E = TypeVar("_E", bound=StrEnum)


class FeatureKind(StrEnum):
    """What a feature's values are; UNSPECIFIED is one that this release does not know."""

    UNSPECIFIED = "unspecified"
    NUMBER = "number"
    TEXT = "text"


class OutputKind(StrEnum):
    """What an output's values are; UNSPECIFIED is one that this release does not know."""

    UNSPECIFIED = "unspecified"
    NUMBER = "number"
    PROBABILITY = "probability"
    CLASS = "class"
    TEXT = "text"


class VersionState(StrEnum):
    """Where a version stands; UNSPECIFIED is a state that this release does not know."""

    UNSPECIFIED = "unspecified"
    LOADING = "loading"
    SERVING = "serving"
    REFUSED = "refused"
    RETIRING = "retiring"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One named input of a model.

    Attributes:
        name: unique within the model.
        kind: number or text.
        description: for people; may be empty.
        minimum: smallest number in the training sample; NaN where there was none.
        maximum: largest number in the training sample; NaN where there was none.
        missing_share: share of the training sample where it was missing, 0 to 1; NaN without one.
        vocabulary_size: distinct texts that the model knows; 0 where it takes any.
        missing_allowed: whether a row may lack it; one that must not gets an error.
        unknown_allowed: text only: whether texts that the model does not know are scored.
        magnitude_limit: number only: the largest magnitude that the model takes.
        lower_limit: number only: the smallest number that the model takes.
        upper_limit: number only: the largest number that the model takes.
        whole: number only: whether it must be a whole number.
    """

    name: str
    kind: FeatureKind
    description: str = ""
    minimum: float = float("nan")
    maximum: float = float("nan")
    missing_share: float = 0.0
    vocabulary_size: int = 0
    missing_allowed: bool = True
    unknown_allowed: bool = True
    magnitude_limit: float = float("inf")
    lower_limit: float = float("-inf")
    upper_limit: float = float("inf")
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One named output of a model: `width` values per row, named by `class_labels` if any."""

    name: str
    kind: OutputKind
    width: int = 1
    class_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a model takes and answers, in order.

    Equal fingerprints mean that the same rows can be sent.
    """

    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version of a model; `reason` says why it was refused, `serving_since` is in UTC."""

    version: str
    state: VersionState
    reason: str
    serving_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Where copies of calls go: a version, and the share of the calls that are copied."""

    version: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which versions of a model answer for which names, as operators have set it.

    Attributes:
        split: weights by version of what answers calls that name none; empty
            where the highest release that serves does.
        aliases: versions by the names that stand for them.
        shadow: where copies of calls go; None where none are made.
    """

    split: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    shadow: Shadow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model and its versions, highest first.

    `default_version` answers calls that name none, most of them where a split is
    set; "" where no version serves. `rollbacks` says how often `rollback` can be
    called. `warning` says what of the routing is not in force, since versions that it
    names do not serve; else it is empty.
    """

    name: str
    default_version: str
    versions: tuple[VersionStatus, ...]
    routing: Routing = field(default_factory=Routing)
    rollbacks: int = 0
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Which server this is.

    Attributes:
        version: the server's.
        engine: what answers calls: native or reference.
        description: the engine and its runtime, for people.
        control: whether calls that change something are answered.
        started_at: when it began to listen, in UTC.
    """

    version: str
    engine: str
    description: str
    control: bool
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model, as seen through one of its versions.

    Attributes:
        status: the model and all its versions.
        version: the version that the rest is about.
        schema: what it takes and answers.
        description: for people; may be empty.
        metrics: measured on data held out from training, by name.
        created_at: when it was trained and exported, in UTC.
        proto: its typed schema, as protoc reads it.
    """

    status: ModelStatus
    version: str
    schema: Schema
    description: str
    metrics: Mapping[str, float]
    created_at: datetime | None
    proto: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.status.name


def status_from(message: models_pb2.ModelStatus) -> ModelStatus:
    """The message as an object."""
    return ModelStatus(
        name=message.name,
        default_version=message.default_version,
        versions=tuple(
            VersionStatus(
                version=version.version,
                state=_member(VersionState, models_pb2.VersionState.items(), version.state),
                reason=version.reason,
                serving_since=_time(version.serving_since) if version.HasField("serving_since") else None,
            )
            for version in message.versions
        ),
        routing=Routing(
            split={each.version: each.weight for each in message.routing.split},
            aliases=dict(message.routing.aliases),
            shadow=Shadow(version=message.routing.shadow.version, share=message.routing.shadow.share)
            if message.routing.HasField("shadow")
            else None,
        ),
        rollbacks=message.rollbacks,
        warning=message.warning,
    )


def server_from(message: models_pb2.GetServerResponse) -> ServerInfo:
    """The message as an object."""
    return ServerInfo(
        version=message.version,
        engine=message.engine,
        description=message.description,
        control=message.control,
        started_at=_time(message.started_at),
    )


def model_from(message: models_pb2.GetModelResponse) -> Model:
    """The message as an object."""
    return Model(
        status=status_from(message.status),
        version=message.version,
        schema=schema_from(message.schema),
        description=message.description,
        metrics=dict(message.metrics),
        created_at=_time(message.created_at) if message.HasField("created_at") else None,
        proto=typed_schema(
            message.status.name, message.version, message.schema, message.description
        ).render(),
    )


def schema_from(message: schema_pb2.Schema) -> Schema:
    """The message as an object."""
    features = tuple(
        Feature(
            name=feature.name,
            kind=_member(FeatureKind, schema_pb2.FeatureKind.items(), feature.kind),
            description=feature.description,
            minimum=feature.minimum,
            maximum=feature.maximum,
            missing_share=feature.missing_share,
            vocabulary_size=feature.vocabulary_size,
            missing_allowed=feature.missing_allowed,
            unknown_allowed=feature.unknown_allowed,
            magnitude_limit=feature.magnitude_limit,
            lower_limit=feature.lower_limit if feature.HasField("lower_limit") else -feature.magnitude_limit,
            upper_limit=feature.upper_limit if feature.HasField("upper_limit") else feature.magnitude_limit,
            whole=feature.whole,
        )
        for feature in message.features
    )
    outputs = tuple(
        Output(
            name=output.name,
            kind=_member(OutputKind, schema_pb2.OutputKind.items(), output.kind),
            width=output.width,
            class_labels=tuple(output.class_labels),
        )
        for output in message.outputs
    )
    return Schema(features=features, outputs=outputs, fingerprint=message.fingerprint)


def _member(kind: type[_E], items: Iterable[tuple[str, int]], number: int) -> _E:
    """The member whose protobuf name ends with its name; the first one for a newer server's."""
    names = {value: name for name, value in items}
    for member in kind:
        if names.get(number, "").endswith(f"_{member.name}"):
            return member
    return next(iter(kind))


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
