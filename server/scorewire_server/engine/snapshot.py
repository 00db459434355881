"""The snapshot: the immutable routing state that an engine serves from.

The control plane builds a snapshot and replaces it as a whole, so that each message
is answered from one consistent state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from random import getrandbits

from scorewire_contract.schema import InvalidNameError, Version
from scorewire_contract.scoring import Scorer
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import models_pb2, schema_pb2
from scorewire_server.engine import split
from scorewire_server.engine.encodings.tensor_codec import TensorCodec
from scorewire_server.engine.encodings.typed_codec import TypedCodec
from scorewire_server.engine.explaining import Explanations
from scorewire_server.engine.runs_on import UNTRIED, RunsOn
from scorewire_server.errors import VersionNotFoundError, VersionUnavailableError, clip, model_not_found

# The most aliases that a warning names.
_SHOWN_ALIASES = 8


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedVersion:
    """A version that passed all checks.

    Attributes:
        model: the model's name.
        version: the version's name.
        fingerprint: the fingerprint of the schema.
        manifest: the bundle's manifest.
        scorer: scores rows.
        row_ns: nanoseconds that one more row costs, measured when the version was loaded. Infinite if the
            graph has control flow, so that it never runs on a thread that other calls wait for.
        max_shared_rows: the most rows, of different calls, that one run may score.
        max_rows: the most rows of one call; None is the server's limit.
        digest: the bundle's digest.
        runs_on: what runs the graph.
        explanations: which outputs can be explained.
        typed: reads and writes the typed encoding, made from the manifest.
        tensors: reads and writes the tensor encoding, made from the manifest.

    Raises:
        ValueError: the manifest's field numbers or tensors do not fit its schema.
    """

    model: str
    version: str
    fingerprint: str
    manifest: manifest_pb2.Manifest
    scorer: Scorer
    row_ns: float
    max_shared_rows: int = 1
    max_rows: int | None = None
    digest: str = ""
    runs_on: RunsOn = UNTRIED
    explanations: Explanations = field(default_factory=Explanations, repr=False)
    typed: TypedCodec = field(init=False, repr=False)
    tensors: TensorCodec = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "typed", TypedCodec(self.manifest))
        object.__setattr__(self, "tensors", TensorCodec(self.manifest))

    @property
    def major(self) -> int:
        """The major version: the first number of the version's name."""
        return Version(self.version).major

    @property
    def score_output(self) -> int | None:
        """The index of the output whose last column counts as the score: the first numeric output.

        Never a text output or an output of classes: those have no score. None if there is no other.
        """
        no_numbers = (schema_pb2.OUTPUT_KIND_CLASS, schema_pb2.OUTPUT_KIND_TEXT)
        outputs = enumerate(self.manifest.schema.outputs)
        return next((i for i, each in outputs if each.kind not in no_numbers), None)


def state_name(state: models_pb2.VersionState.ValueType) -> str:
    """The name of a state as people see it, without the enum's prefix: SERVING."""
    return models_pb2.VersionState.Name(state).removeprefix("VERSION_STATE_")


@dataclass(frozen=True, slots=True, eq=False)
class VersionRecord:
    """The state of a version.

    Attributes:
        model: the model's name.
        version: the version's name.
        state: the state.
        reason: why the version does not serve, or what is wrong with it, for people.
        serving_since: when the version was loaded.
        loaded: the loaded version; None unless it serves.
    """

    model: str
    version: str
    state: models_pb2.VersionState.ValueType
    reason: str = ""
    serving_since: datetime | None = None
    loaded: LoadedVersion | None = None

    @property
    def is_loading(self) -> bool:
        """Whether the version is being loaded, or waits for that."""
        return self.state == models_pb2.VERSION_STATE_LOADING

    @property
    def is_release(self) -> bool:
        """Whether the version may answer calls that name none without a split."""
        try:
            return not Version(self.version).is_prerelease
        except InvalidNameError:
            return False


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadow: the version that gets copies, and the share of calls that are copied, above 0 and up to 1."""

    version: str
    share: float


@dataclass(frozen=True, slots=True)
class Routing:
    """What operators have set for one model, by names of versions.

    Attributes:
        split: versions and weights; an empty split follows the highest release.
        aliases: the version of each alias.
        shadow: the shadow of calls that name no version.
    """

    split: tuple[tuple[str, int], ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    shadow: Shadow | None = None

    def answers(self, version: str) -> bool:
        """Whether the split gives a version calls that name no version."""
        return any(version == each for each, weight in self.split if weight)

    def versions(self) -> set[str]:
        """Every version that the routing names."""
        named = {version for version, _ in self.split} | set(self.aliases.values())
        return named | {self.shadow.version} if self.shadow is not None else named


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A model in a snapshot.

    Attributes:
        name: the model's name.
        versions: all versions, the highest first.
        default_version: the version that answers most calls that name no version; "" if no version does.
        routing: what operators have set.
        missing: versions that the routing names and that do not serve.
    """

    name: str
    versions: tuple[VersionRecord, ...]
    default_version: str
    routing: Routing
    missing: frozenset[str] = frozenset()

    @property
    def awaited(self) -> str:
        """The version that is being loaded and may then answer calls that name none; "" if there is none."""
        loading = [each for each in self.versions if each.is_loading]
        splits = {version for version, weight in self.routing.split if weight}
        of_split = (each.version for each in loading if each.version in splits)
        releases = (each.version for each in loading if each.is_release)
        return next(chain(of_split, releases), "")

    @property
    def warning(self) -> str:
        """The parts of the routing that are not in force, for people; "" if all of it is."""
        routing, parts = self.routing, []
        answering = [version for version, weight in routing.split if weight]
        if lost := [version for version in answering if version in self.missing]:
            instead = f"answered by {self.default_version}" if self.default_version else "not answered"
            if len(lost) < len(answering):
                instead = "answered by the others of the split"
            parts.append(f"split: calls for {', '.join(lost)}, which should answer and cannot, are {instead}")
        if lost := sorted(alias for alias, version in routing.aliases.items() if version in self.missing):
            shown = [*lost[:_SHOWN_ALIASES], *(["..."] if len(lost) > _SHOWN_ALIASES else [])]
            parts.append(f"aliases: {', '.join(shown)} stand for versions that do not serve")
        if routing.shadow is not None and routing.shadow.version in self.missing:
            parts.append(f"shadow: {routing.shadow.version} does not serve, no calls are copied")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A version of a split, with a weight of 1 or more, and its seed for the choice."""

    version: LoadedVersion
    weight: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The way from a name of a model to the versions that answer.

    Attributes:
        model: the model's name.
        name: a version, an alias, or "" for calls that name no version.
        targets: the versions that answer, with their weights.
        shadow: the version that gets copies, and the share of calls that are copied.
    """

    model: str
    name: str
    targets: tuple[Target, ...]
    shadow: tuple[LoadedVersion, float] | None = None

    def pick(self, routing_key: str) -> LoadedVersion:
        """The version that answers: always the same for one key; random by weight for ""."""
        if len(self.targets) == 1:
            return self.targets[0].version
        point = split.point_of(routing_key) if routing_key else getrandbits(64)
        index = split.pick(point, [(target.seed, target.weight) for target in self.targets])
        return self.targets[index].version

    def versions(self) -> Iterator[LoadedVersion]:
        """The versions of the targets and of the shadow."""
        for target in self.targets:
            yield target.version
        if self.shadow is not None:
            yield self.shadow[0]

    def version(self, version: str) -> LoadedVersion:
        """The version among the targets with this name.

        Raises:
            StopIteration: no target has this name.
        """
        return next(each.version for each in self.targets if each.version.version == version)

    @property
    def heaviest(self) -> LoadedVersion:
        """The version with the largest weight."""
        return max(self.targets, key=lambda target: target.weight).version


@dataclass(frozen=True, slots=True, eq=False)
class TypedService:
    """The typed service of one major version of a model.

    Attributes:
        model: the model's name.
        major: the major version.
        newest: the version whose schema the service has.
        route: the route of calls that name no version.
    """

    model: str
    major: int
    newest: LoadedVersion
    route: Route


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All models by name, all typed services by full name and former full name, the route of every name."""

    models: Mapping[str, ModelRecord]
    services: Mapping[str, TypedService]
    _routes: Mapping[tuple[str, str], Route] = field(repr=False)
    _majors: Mapping[tuple[str, int], Route] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        majors = {(each.model, each.major): each.route for each in self.services.values()}
        object.__setattr__(self, "_majors", majors)

    def route(self, model: str, name: str) -> Route:
        """The route of a model's version or alias, or of "" for the default route.

        Raises:
            ModelNotFoundError: there is no such model.
            VersionNotFoundError: the model has no such version or alias.
            VersionUnavailableError: the version does not serve.
        """
        found = self._routes.get((model, name))
        if found is None:
            raise self._failure(model, name)
        return found

    def major_route(self, model: str, major: int, name: str) -> Route:
        """As `route`, for a caller that knows one major version only.

        Calls that name no version take the default route if all its versions are of that
        major, and otherwise the highest release of that major.

        Raises:
            CallError: as for `route`, or the name leads to another major.
        """
        if not name and (model, major) in self._majors:
            return self._majors[model, major]
        route = self.route(model, name)
        if all(target.version.major == major for target in route.targets):
            return route
        message = f"{clip(name)!r} of model {clip(model)!r} is not of major {major}, whose service was called"
        raise VersionNotFoundError(message, model=model, version=name)

    def routes(self) -> Iterator[Route]:
        """All routes of all models."""
        return iter(self._routes.values())

    def _failure(self, model: str, version: str) -> Exception:
        record = self.models.get(model)
        name = clip(model)
        if record is None:
            return model_not_found(model)
        if not version:
            message = f"no release of model {name!r} serves"
            if awaited := record.awaited:
                message += f" yet: version {clip(awaited)!r} is LOADING; try again soon"
            else:
                message += "; name a version, or see ListModels for the reason"
            return VersionUnavailableError(message, model=model)
        target = record.routing.aliases.get(version, version)
        for each in record.versions:
            if each.version == target:
                message = f"version {clip(target)!r} of model {name!r} "
                if each.is_loading:
                    message += "does not serve yet: it is LOADING; try again soon"
                else:
                    message += f"is {state_name(each.state).lower()} and does not serve"
                return VersionUnavailableError(message, model=model, version=target)
        message = f"model {name!r} has no version or alias {clip(version)!r}; ListModels names them all"
        return VersionNotFoundError(message, model=model, version=version)
