"""The immutable routing state that an engine serves from.

A snapshot is built by the control plane and replaced whole, so that a call sees
one state from its first look to its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scorewire_contract.schema import InvalidNameError, Version
from scorewire_contract.scoring import Scorer
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import models_pb2
from scorewire_server.errors import ModelNotFoundError, VersionNotFoundError, VersionUnavailableError, clip


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """A version that passed its checks.

    `output_names` is in schema order. `row_ns` is what one more row costs, in
    nanoseconds, as measured when the version was loaded.
    """

    model: str
    version: str
    fingerprint: str
    output_names: tuple[str, ...]
    manifest: manifest_pb2.Manifest
    scorer: Scorer
    row_ns: float


@dataclass(frozen=True, slots=True, eq=False)
class VersionRecord:
    """Where a version stands. `loaded` is there while it serves, `reason` where it was refused."""

    model: str
    version: str
    state: models_pb2.VersionState.ValueType
    reason: str = ""
    serving_since: datetime | None = None
    loaded: LoadedVersion | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A model: its versions, highest first, and the one that answers calls which name none, or ""."""

    name: str
    versions: tuple[VersionRecord, ...]
    default_version: str


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All models by name, and the way from a request's names to a version."""

    models: Mapping[str, ModelRecord]
    aliases: Mapping[tuple[str, str], str]
    _routes: Mapping[tuple[str, str], LoadedVersion] = field(repr=False)

    def route(self, model: str, version: str) -> LoadedVersion:
        """The version that answers for a model's name and a version, an alias or "".

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: the model has no such version or alias.
            VersionUnavailableError: it has, and that version does not serve.
        """
        found = self._routes.get((model, version))
        if found is None:
            raise self._failure(model, version)
        return found

    def routes(self) -> Iterator[tuple[str, str, LoadedVersion]]:
        """Every model's name, version, alias or "", and the version that answers for them."""
        for (model, version), loaded in self._routes.items():
            yield model, version, loaded

    def _failure(self, model: str, version: str) -> Exception:
        record = self.models.get(model)
        name = clip(model)
        if record is None:
            return ModelNotFoundError(f"there is no model {name!r}; ListModels names them all", model=model)
        if not version:
            return VersionUnavailableError(f"no version of model {name!r} serves", model=model)
        target = self.aliases.get((model, version), version)
        for each in record.versions:
            if each.version == target:
                state = models_pb2.VersionState.Name(each.state).removeprefix("VERSION_STATE_").lower()
                message = f"version {clip(target)!r} of model {name!r} is {state} and does not serve"
                return VersionUnavailableError(message, model=model, version=target)
        message = f"model {name!r} has no version or alias {clip(version)!r}"
        return VersionNotFoundError(message, model=model, version=version)


def build_snapshot(
    records: Iterable[VersionRecord], aliases: Mapping[tuple[str, str], str] | None = None
) -> Snapshot:
    """Build the routing state.

    Args:
        records: one for each version of each model.
        aliases: from (model, alias) to the version that the alias stands for.
    """
    by_model: dict[str, list[VersionRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    models: dict[str, ModelRecord] = {}
    routes: dict[tuple[str, str], LoadedVersion] = {}
    for name in sorted(by_model):
        versions = sorted(by_model[name], key=_order, reverse=True)
        serving = [each for each in versions if each.loaded is not None]
        for each in serving:
            if each.loaded is not None:
                routes[name, each.version] = each.loaded
        default = next((each for each in serving if not Version(each.version).is_prerelease), None)
        default = default or next(iter(serving), None)
        if default is not None and default.loaded is not None:
            routes[name, ""] = default.loaded
        models[name] = ModelRecord(name, tuple(versions), default.version if default is not None else "")
    aliases = dict(aliases or {})
    for (model, alias), version in aliases.items():
        target = routes.get((model, version))
        if target is not None:
            routes.setdefault((model, alias), target)
    return Snapshot(models=models, aliases=aliases, _routes=routes)


def _order(record: VersionRecord) -> tuple[bool, Version, str]:
    """Semantic versions by their rank; folders that are none come last, by name."""
    try:
        return True, Version(record.version), ""
    except InvalidNameError:
        return False, Version("0.0.0"), record.version
