"""Models, schemas, versions and routing, as a server describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, TypeAlias, TypeVar, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from scorewire_contract.patterns import Patterns
from scorewire_contract.typed import typed_schema
from scorewire_proto.v1 import models_pb2, schema_pb2

_E = TypeVar("_E", bound=StrEnum)
Right: TypeAlias = Literal["predict", "observe", "control"]
RIGHTS: tuple[Right, ...] = get_args(Right)


class FeatureKind(StrEnum):
    """The kind of a feature's values; UNSPECIFIED stands for a kind that this release does not know."""

    UNSPECIFIED = "unspecified"
    NUMBER = "number"
    TEXT = "text"


class OutputKind(StrEnum):
    """The kind of an output's values; UNSPECIFIED stands for a kind that this release does not know."""

    UNSPECIFIED = "unspecified"
    NUMBER = "number"
    PROBABILITY = "probability"
    CLASS = "class"
    TEXT = "text"


class VersionState(StrEnum):
    """The state of a version; UNSPECIFIED stands for a state that this release does not know."""

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
        minimum: smallest number in the training sample; NaN without a training sample.
        maximum: largest number in the training sample; NaN without a training sample.
        missing_share: share of the training sample in which the feature was missing, 0 to 1; NaN
            without a training sample.
        vocabulary_size: number of distinct texts that the model knows; 0 if it takes any text.
        missing_allowed: whether a row may leave the feature out; if not, such a row gets an error.
        unknown_allowed: text only: whether a text that the model does not know is scored; if not,
            its row gets an error.
        magnitude_limit: number only: the largest magnitude that the model takes.
        lower_limit: number only: the smallest number that the model takes.
        upper_limit: number only: the largest number that the model takes.
        whole: number only: whether the number must be whole.
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
    """One named output of a model: `width` values per row. `class_labels` may name the values."""

    name: str
    kind: OutputKind
    width: int = 1
    class_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The features and outputs of a model, in order.

    Two schemas with the same fingerprint take the same rows.
    """

    features: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputExplanation:
    """Whether and how a version explains an output.

    Attributes:
        output: the output's name.
        link: the function from margins to the output, such as "sigmoid"; "" if it cannot be explained.
        details: for people: how contributions are computed, or why they are not.
    """

    output: str
    link: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version of a model; `reason` tells why it was refused, `serving_since` is in UTC.

    `runs_on` tells what runs its graph: kernel or onnxruntime, "" unless it serves; `runs_on_details`
    tells people how, or why. `explanations` tells which outputs can be explained, empty unless it serves.
    """

    version: str
    state: VersionState
    reason: str
    serving_since: datetime | None
    runs_on: str = ""
    runs_on_details: str = ""
    explanations: tuple[OutputExplanation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """The version that gets copies of calls, and the share of the calls that are copied, 0 to 1."""

    version: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which versions of a model answer which calls, as operators have set it.

    Attributes:
        split: weights by version for calls that name no version; empty if the
            highest release that serves answers those.
        aliases: versions by alias.
        shadow: the version that gets copies of calls; None if no calls are copied.
    """

    split: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    shadow: Shadow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model and its versions, highest first.

    Attributes:
        name: the model's name.
        default_version: the version that answers calls that name no version; the one
            with the largest weight if a split has several; "" if no version serves.
        versions: all versions that the server knows.
        routing: which versions answer which calls.
        rollbacks: how many changes of the routing `roll_back` can undo.
        warning: which part of the routing is not in force because a version that
            it names does not serve; else "".
    """

    name: str
    default_version: str
    versions: tuple[VersionStatus, ...]
    routing: Routing = field(default_factory=Routing)
    rollbacks: int = 0
    warning: str = ""

    @property
    def pinned_version(self) -> str:
        """The version that answers all calls that name no version, whatever is released; else "".

        A split of one version pins the default, as a rollback of a new release
        leaves it. `set_split(model, {})` lets the highest release answer again.
        """
        answering = [version for version, weight in self.routing.split.items() if weight]
        return answering[0] if len(answering) == 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as the server's access file has it.

    The models of a right are names, and beginnings of names with a star at the end, like "shop-*".

    Attributes:
        principal: the caller's name.
        predict: models that the caller may score rows with.
        observe: models whose statistics and records the caller may see.
        control: models that the caller may change.
    """

    principal: str
    predict: tuple[str, ...] = ()
    observe: tuple[str, ...] = ()
    control: tuple[str, ...] = ()

    def may(self, right: Right, model: str) -> bool:
        """Whether the caller has a right to a model, which need not exist.

        Raises:
            ValueError: there is no such right.
        """
        if right not in RIGHTS:
            raise ValueError(f"a right is one of {', '.join(RIGHTS)}, not {right!r}")
        return Patterns.parse(getattr(self, right)).match(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The server's version, engine and start time.

    Attributes:
        version: the release of the server.
        engine: the engine that answers calls: "native" or "reference".
        description: the engine and its runtime, for people.
        control: whether the server takes calls that change models or routing.
        started_at: when the server began to listen, in UTC.
        caller: who calls, and which rights it has; None if the server has no access file, and all may call.
    """

    version: str
    engine: str
    description: str
    control: bool
    started_at: datetime
    caller: Caller | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One version of a model, with its schema.

    Attributes:
        status: the model and all its versions.
        version: the version that the other attributes describe.
        schema: the version's features and outputs.
        description: for people; may be empty.
        metrics: evaluation metrics on held-out data, by name.
        created_at: when the version was exported, in UTC; None if the bundle does not tell.
        max_rows: the most rows in one call; 0 if the server does not tell.
        max_message_bytes: the largest message that the server takes or sends; 0 if it does not tell.
        proto: the version's typed schema as a .proto file, for protoc.
        known_texts: the texts that the model knows, by feature; only of features that know few.
    """

    status: ModelStatus
    version: str
    schema: Schema
    description: str
    metrics: Mapping[str, float]
    created_at: datetime | None
    max_rows: int = 0
    max_message_bytes: int = 0
    proto: str = field(default="", repr=False)
    known_texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.status.name


def status_from(message: models_pb2.ModelStatus) -> ModelStatus:
    """Convert the message."""
    return ModelStatus(
        name=message.name,
        default_version=message.default_version,
        versions=tuple(
            VersionStatus(
                version=version.version,
                state=_member(VersionState, models_pb2.VersionState.items(), version.state),
                reason=version.reason,
                serving_since=_time(version.serving_since) if version.HasField("serving_since") else None,
                runs_on=version.runs_on,
                runs_on_details=version.runs_on_details,
                explanations=tuple(
                    OutputExplanation(output=each.output, link=each.link, details=each.details)
                    for each in version.explanations
                ),
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
    """Convert the message."""
    return ServerInfo(
        version=message.version,
        engine=message.engine,
        description=message.description,
        control=message.control,
        started_at=_time(message.started_at),
        caller=caller_from(message.caller) if message.HasField("caller") else None,
    )


def caller_from(message: models_pb2.Caller) -> Caller:
    """Convert the message."""
    return Caller(
        principal=message.principal,
        predict=tuple(message.predict),
        observe=tuple(message.observe),
        control=tuple(message.control),
    )


def model_from(message: models_pb2.GetModelResponse) -> Model:
    """Convert the message."""
    return Model(
        status=status_from(message.status),
        version=message.version,
        schema=schema_from(message.schema),
        description=message.description,
        metrics=dict(message.metrics),
        created_at=_time(message.created_at) if message.HasField("created_at") else None,
        max_rows=message.max_rows,
        max_message_bytes=message.max_message_bytes,
        proto=typed_schema(
            message.status.name, message.version, message.schema, message.description
        ).render(),
        known_texts={each.feature: tuple(each.texts) for each in message.known_texts},
    )


def schema_from(message: schema_pb2.Schema) -> Schema:
    """Convert the message."""
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
    """The member with the name of a protobuf enum value; the first member for an unknown value."""
    names = {value: name for name, value in items}
    for member in kind:
        if names.get(number, "").endswith(f"_{member.name}"):
            return member
    return next(iter(kind))


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
