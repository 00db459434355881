"""Each version on each route is a source of its own, numbered once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from scorewire_contract.bundle import Bundle
from scorewire_contract.records.source import Output, Source
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.recording import RecordedSource
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, Snapshot, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import RouteKey
from scorewire_server.records.policy import ModelPolicy, Policy
from scorewire_server.records.sources import SourceNumbers, misfits, sources_of
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros


@pytest.fixture
def version(sum_bundle: Bundle) -> LoadedVersion:
    return loaded_version(sum_bundle, zeros)


def _described(sources: Mapping[RouteKey, RecordedSource]) -> dict[RouteKey, Source]:
    return {key: Source.decode(each.description) for key, each in sources.items()}


def _routed(bundle: Bundle, routing: Routing) -> Snapshot:
    versions = []
    for name in ("1.0.0", "1.1.0", "2.0.0"):
        manifest = type(bundle.manifest)()
        manifest.CopyFrom(bundle.manifest)
        manifest.version = name
        loaded = LoadedVersion(
            model="sum",
            version=name,
            fingerprint=manifest.schema.fingerprint,
            manifest=manifest,
            scorer=loaded_version(bundle, zeros).scorer,
            row_ns=1.0,
        )
        state = models_pb2.VERSION_STATE_SERVING
        versions.append(VersionRecord(model="sum", version=name, state=state, loaded=loaded))
    return build_snapshot(versions, {"sum": routing})


def test_a_source_describes_its_version_and_route(version: LoadedVersion) -> None:
    sources = sources_of(snapshot_of(version), Policy(), SourceNumbers())
    described = _described(sources)
    assert described == {
        key: Source(
            source=sources[key].number,
            model="sum",
            version="1.0.0",
            fingerprint=version.fingerprint,
            route=key.route,
            kind="version" if key.route else "default",
            share=1.0,
            features=("x0", "x1", "country"),
            numbers=("x0", "x1"),
            texts=("country",),
            outputs=(Output(name="value", width=1, kind="number"),),
            score_output=0,
        )
        for key in (RouteKey("sum", "1.0.0", ""), RouteKey("sum", "1.0.0", "1.0.0"))
    }


def test_every_kind_of_route_has_its_sources(sum_bundle: Bundle) -> None:
    routing = Routing(
        split=(("1.0.0", 90), ("1.1.0", 10)),
        # An alias with the name of a version leads nowhere: the version wins.
        aliases={"champion": "1.1.0", "2.0.0": "1.0.0"},
        shadow=Shadow("2.0.0", 0.5),
    )
    described = _described(sources_of(_routed(sum_bundle, routing), Policy(), SourceNumbers()))
    kinds = {(key.version, key.route, key.shadow): each.kind for key, each in described.items()}
    assert kinds == {
        ("1.0.0", "", False): "split",
        ("1.1.0", "", False): "split",
        ("2.0.0", "", True): "shadow",
        ("1.0.0", "1.0.0", False): "version",
        ("1.1.0", "1.1.0", False): "version",
        ("2.0.0", "2.0.0", False): "version",
        ("1.1.0", "champion", False): "alias",
    }
    assert len({each.source for each in described.values()}) == len(described)


def test_hashed_features_are_texts_behind_the_others(version: LoadedVersion) -> None:
    rules = ModelPolicy(
        features={"x0": "hash", "x1": "drop", "country": "hash"}, caller="drop", principal="hash"
    )
    policy = Policy(models={"sum": rules}, hash_key=bytes(32))
    source = sources_of(snapshot_of(version), policy, SourceNumbers())[RouteKey("sum", "1.0.0", "")]
    assert (source.numbers, source.texts) == (("hash", "drop"), ("hash",))
    assert (source.caller, source.principal, source.routing_key) == ("drop", "hash", "keep")
    assert source.hash_key == bytes(32)
    described = Source.decode(source.description)
    assert described.features == ("x0", "x1", "country")
    assert described.numbers == ()
    assert described.texts == described.hashed == ("x0", "country")
    assert described.dropped == ("x1",)
    assert (described.caller, described.principal, described.routing_key) == ("drop", "hash", "keep")


def test_the_key_goes_to_models_that_hash_only(version: LoadedVersion) -> None:
    policy = Policy(models={"other": ModelPolicy(caller="hash")}, hash_key=bytes(32))
    sources = sources_of(snapshot_of(version), policy, SourceNumbers())
    assert {each.hash_key for each in sources.values()} == {b""}


def test_sources_that_stay_keep_their_number_and_others_get_a_new_one(version: LoadedVersion) -> None:
    numbers, snapshot = SourceNumbers(), snapshot_of(version)
    first = sources_of(snapshot, Policy(), numbers)
    assert sources_of(snapshot, Policy(), numbers) == first
    policies = [
        Policy(default=ModelPolicy(share=0.5)),
        Policy(default=ModelPolicy(keep_errors=True)),
        Policy(default=ModelPolicy(caller="hash"), hash_key=bytes(32)),
        Policy(default=ModelPolicy(caller="hash"), hash_key=bytes(range(32))),
    ]
    # The first policy again: its sources were forgotten, and their numbers are not given again.
    found = [sources_of(snapshot, policy, numbers) for policy in (*policies, Policy())]
    assert sources_of(snapshot, Policy(), numbers) == found[-1]
    seen = [each.number for sources in (first, *found) for each in sources.values()]
    assert sorted(seen) == list(range(1, len(seen) + 1))


def test_a_model_whose_policy_does_not_fit_is_not_recorded(version: LoadedVersion) -> None:
    policy = Policy(models={"sum": ModelPolicy(features={"contry": "drop"})})
    snapshot = snapshot_of(version)
    assert sources_of(snapshot, policy, SourceNumbers()) == {}
    (problem,) = misfits(snapshot, policy)
    assert "[models.sum.features]" in problem
    assert "did you mean 'country'?" in problem
