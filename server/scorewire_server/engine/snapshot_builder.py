"""Builds a snapshot from the records of versions and from what operators have set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from scorewire_contract.schema import InvalidNameError, Version
from scorewire_server.engine import split
from scorewire_server.engine.snapshot import (
    LoadedVersion,
    ModelRecord,
    Route,
    Routing,
    Shadow,
    Snapshot,
    Target,
    TypedService,
    VersionRecord,
)


def build_snapshot(
    records: Iterable[VersionRecord], routings: Mapping[str, Routing] | None = None
) -> Snapshot:
    """Build a snapshot.

    Rules for routings that name versions which do not serve:

    - A split leaves out such versions. If all of them are missing, the highest release
      answers, and the model has a warning.
    - While a version of the split is being loaded, the highest release does not take
      its place.
    - A shadow gets no copies if it does not serve, or takes other rows than the versions
      that answer.

    Args:
        records: one record for each version of each model.
        routings: what operators have set, by model.
    """
    by_model: dict[str, list[VersionRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    models: dict[str, ModelRecord] = {}
    routes: dict[tuple[str, str], Route] = {}
    services: dict[str, TypedService] = {}
    for name in sorted(by_model):
        versions = sorted(by_model[name], key=_order, reverse=True)
        routing = (routings or {}).get(name) or Routing()
        loaded = {each.version: each.loaded for each in versions if each.loaded is not None}
        loading = {each.version for each in versions if each.is_loading}
        named = _named_routes(name, loaded, routing, loading)
        models[name] = ModelRecord(
            name,
            tuple(versions),
            named[""].heaviest.version if "" in named else "",
            routing,
            frozenset(routing.versions() - loaded.keys()),
        )
        routes.update(((name, each), route) for each, route in named.items())
        for service in _typed_services(name, loaded, named):
            services.update(dict.fromkeys(service.newest.typed.files, service))
    return Snapshot(models=models, services=services, _routes=routes)


def _typed_services(
    model: str, loaded: Mapping[str, LoadedVersion], named: Mapping[str, Route]
) -> Iterator[TypedService]:
    """A typed service for each major version that serves; `loaded` is by version, the highest first."""
    majors: dict[int, list[LoadedVersion]] = {}
    for version in loaded.values():
        majors.setdefault(version.major, []).append(version)
    default = named.get("")
    for major, versions in majors.items():
        newest = next((each for each in versions if not Version(each.version).is_prerelease), versions[0])
        fits = default is not None and all(target.version.major == major for target in default.targets)
        route = default if default is not None and fits else named[newest.version]
        yield TypedService(model, major, newest, route)


def _named_routes(
    model: str, loaded: Mapping[str, LoadedVersion], routing: Routing, loading: Set[str]
) -> dict[str, Route]:
    """A model's routes by name; `loaded` is by version, the highest first."""

    def targets(weights: Iterable[tuple[str, int]]) -> tuple[Target, ...]:
        return tuple(
            Target(loaded[version], weight, split.seed_of(model, version))
            for version, weight in weights
            if version in loaded and weight > 0
        )

    routes = {version: Route(model, version, targets([(version, 1)])) for version in loaded}
    for alias, version in routing.aliases.items():
        if version in loaded:
            routes.setdefault(alias, Route(model, alias, targets([(version, 1)])))
    release = next((version for version in loaded if not Version(version).is_prerelease), None)
    if any(version in loading for version, weight in routing.split if weight):
        release = None
    default = targets(routing.split) or (targets([(release, 1)]) if release is not None else ())
    if default:
        routes[""] = Route(model, "", default, _copies(loaded, routing.shadow, default))
    return routes


def _copies(
    loaded: Mapping[str, LoadedVersion], shadow: Shadow | None, targets: tuple[Target, ...]
) -> tuple[LoadedVersion, float] | None:
    """The version that gets copies, and its share; None if it cannot take them or alone answers already."""
    version = loaded.get(shadow.version) if shadow is not None else None
    if shadow is None or version is None or [target.version for target in targets] == [version]:
        return None
    takes_all = all(target.version.fingerprint == version.fingerprint for target in targets)
    return (version, shadow.share) if takes_all else None


def _order(record: VersionRecord) -> tuple[bool, Version, str]:
    """A sort key: semantic versions by precedence, below them other names of folders."""
    try:
        return True, Version(record.version), ""
    except InvalidNameError:
        return False, Version("0.0.0"), record.version
