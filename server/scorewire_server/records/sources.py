"""Turns a snapshot and a policy into sources: what engines record of each route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from scorewire_contract.records.source import Output, Source
from scorewire_proto.v1 import schema_pb2
from scorewire_server.engine.recording import RecordedSource, Sources, Treatment
from scorewire_server.engine.snapshot import LoadedVersion, ModelRecord, Route, Snapshot
from scorewire_server.engine.statistics import RouteKey
from scorewire_server.records.policy import ModelPolicy, Policy

_KINDS = {
    schema_pb2.OUTPUT_KIND_NUMBER: "number",
    schema_pb2.OUTPUT_KIND_PROBABILITY: "probability",
    schema_pb2.OUTPUT_KIND_CLASS: "class",
    schema_pb2.OUTPUT_KIND_TEXT: "text",
}

# A source without a number, and what is recorded of it without its number and description.
_Unnumbered: TypeAlias = tuple[Source, RecordedSource]


class SourceNumbers:
    """Numbers sources from 1. A source that stays from one snapshot to the next keeps its number."""

    def __init__(self) -> None:
        self._last = 0
        self._before: dict[_Unnumbered, RecordedSource] = {}

    def number(self, sources: Mapping[RouteKey, _Unnumbered]) -> Sources:
        """The sources of a snapshot, with their numbers and descriptions; the next call knows them."""
        numbered = {key: self._before.get(key) or self._next(*key) for key in sources.values()}
        self._before = numbered
        return {route: numbered[key] for route, key in sources.items()}

    def _next(self, description: Source, recorded: RecordedSource) -> RecordedSource:
        self._last += 1
        body = replace(description, source=self._last).encode()
        return replace(recorded, number=self._last, description=body)


def sources_of(snapshot: Snapshot, policy: Policy, numbers: SourceNumbers) -> Sources:
    """The source of every version on every route.

    A model whose policy does not fit it is left out, so that no feature is recorded
    against the will of the policy's owner; `misfits` tells of it.
    """
    found: dict[RouteKey, _Unnumbered] = {}
    for route in snapshot.routes():
        rules = policy.of(route.model)
        model = snapshot.models[route.model]
        if rules.misfit(_features(model)):
            continue
        for version, kind in _versions(route, model):
            key = RouteKey(route.model, version.version, route.name, shadow=kind == "shadow")
            found[key] = _source(route, version, kind, rules, policy.hash_key)
    return numbers.number(found)


def misfits(snapshot: Snapshot, policy: Policy) -> Iterator[str]:
    """What is wrong with the policy for the models of a snapshot."""
    for name, model in snapshot.models.items():
        if problem := policy.of(name).misfit(_features(model)):
            yield f"[models.{name}.features]: {problem}"


def _features(model: ModelRecord) -> list[list[str]]:
    """The names of the features of each version that serves."""
    loaded = (record.loaded for record in model.versions)
    return [[each.name for each in one.manifest.schema.features] for one in loaded if one is not None]


def _versions(route: Route, model: ModelRecord) -> Iterator[tuple[LoadedVersion, str]]:
    """The versions of a route that score, and the kind of their sources."""
    if not route.name:
        kind = "split" if len(route.targets) > 1 else "default"
    else:
        # A version wins over an alias of the same name.
        kind = (
            "version"
            if any(route.name == each.version for each in model.versions if each.loaded)
            else "alias"
        )
    for target in route.targets:
        yield target.version, kind
    if route.shadow is not None:
        yield route.shadow[0], "shadow"


def _source(
    route: Route, version: LoadedVersion, kind: str, rules: ModelPolicy, hash_key: bytes
) -> _Unnumbered:
    schema = version.manifest.schema
    treated: list[tuple[schema_pb2.Feature, Treatment]] = [
        (feature, rules.features.get(feature.name, "keep")) for feature in schema.features
    ]
    numbers = [each for each in treated if each[0].kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [each for each in treated if each[0].kind == schema_pb2.FEATURE_KIND_TEXT]
    hashed = tuple(feature.name for feature, treatment in (*numbers, *texts) if treatment == "hash")
    description = Source(
        source=0,
        model=version.model,
        version=version.version,
        fingerprint=version.fingerprint,
        route=route.name,
        kind=kind,
        share=rules.share,
        features=tuple(feature.name for feature in schema.features),
        numbers=tuple(feature.name for feature, treatment in numbers if treatment == "keep"),
        texts=(*(feature.name for feature, treatment in texts if treatment == "keep"), *hashed),
        hashed=hashed,
        dropped=tuple(feature.name for feature, treatment in treated if treatment == "drop"),
        routing_key=rules.routing_key,
        caller=rules.caller,
        principal=rules.principal,
        retention_days=rules.retention_days,
        outputs=tuple(
            Output(name=each.name, width=each.width, kind=_KINDS[each.kind], labels=tuple(each.class_labels))
            for each in schema.outputs
        ),
        score_output=version.score_output,
    )
    recorded = RecordedSource(
        number=0,
        description=b"",
        share=rules.share,
        by_key=rules.sample_by == "routing_key",
        keep_errors=rules.keep_errors,
        keep_shadowed=rules.keep_shadowed,
        numbers=tuple(treatment for _, treatment in numbers),
        texts=tuple(treatment for _, treatment in texts),
        caller=rules.caller,
        principal=rules.principal,
        routing_key=rules.routing_key,
        hash_key=hash_key if rules.hashes else b"",
    )
    return description, recorded
