"""What a server says of its models, as objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

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


class VersionState(StrEnum):
    """Where a version stands; UNSPECIFIED is a state that this release does not know."""

    UNSPECIFIED = "unspecified"
    LOADING = "loading"
    SERVING = "serving"
    REFUSED = "refused"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One named input of a model.

    Attributes:
        name: unique within the model.
        kind: number or text.
        description: for people; may be empty.
        minimum: smallest number in the training sample; NaN where there was none.
        maximum: largest number in the training sample; NaN where there was none.
        missing_share: share of the training sample where it was missing, 0 to 1.
        vocabulary_size: distinct texts that the model knows; 0 where it takes any.
        missing_allowed: whether a row may lack it; one that must not gets an error.
        unknown_allowed: text only: whether texts that the model does not know are scored.
        magnitude_limit: number only: the largest magnitude that the model takes.
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
class ModelStatus:
    """A model and its versions, highest first.

    `default_version` answers calls that name none; "" where no version serves.
    """

    name: str
    default_version: str
    versions: tuple[VersionStatus, ...]


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
    """

    status: ModelStatus
    version: str
    schema: Schema
    description: str
    metrics: Mapping[str, float]
    created_at: datetime | None

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
