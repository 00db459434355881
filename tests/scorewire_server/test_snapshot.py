from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.snapshot import LoadedVersion, VersionRecord, build_snapshot
from scorewire_server.errors import ModelNotFoundError, VersionNotFoundError, VersionUnavailableError
from tests.scorewire_server.models import loaded_version, zeros


@pytest.fixture
def loaded(sum_bundle: Bundle) -> LoadedVersion:
    return loaded_version(sum_bundle, zeros)


def _serving(loaded: LoadedVersion, version: str, model: str = "sum") -> VersionRecord:
    return VersionRecord(
        model=model,
        version=version,
        state=models_pb2.VERSION_STATE_SERVING,
        loaded=replace(loaded, model=model, version=version),
    )


def _refused(version: str) -> VersionRecord:
    return VersionRecord(model="sum", version=version, state=models_pb2.VERSION_STATE_REFUSED, reason="bad")


@pytest.mark.parametrize(
    ("versions", "default"),
    [
        (["1.0.0"], "1.0.0"),
        (["1.9.0", "1.10.0", "1.2.0"], "1.10.0"),
        (["1.0.0", "2.0.0-rc.1"], "1.0.0"),
        (["2.0.0-rc.1", "2.0.0-rc.2", "2.0.0-alpha"], "2.0.0-rc.2"),
        (["1.0.0+a", "1.0.0+b"], "1.0.0+b"),
    ],
)
def test_the_default_is_the_highest_release(loaded: LoadedVersion, versions: list[str], default: str) -> None:
    snapshot = build_snapshot(_serving(loaded, version) for version in versions)
    assert snapshot.models["sum"].default_version == default
    assert snapshot.route("sum", "").version == default


def test_a_refused_version_is_not_the_default(loaded: LoadedVersion) -> None:
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0"), _refused("no version")])
    assert snapshot.route("sum", "").version == "1.0.0"
    assert [each.version for each in snapshot.models["sum"].versions] == ["2.0.0", "1.0.0", "no version"]


def test_routes_that_lead_nowhere_say_why(loaded: LoadedVersion) -> None:
    loading = VersionRecord(model="sum", version="4.0.0", state=models_pb2.VERSION_STATE_LOADING)
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0"), loading])
    with pytest.raises(ModelNotFoundError, match="'other'"):
        snapshot.route("other", "")
    with pytest.raises(VersionNotFoundError, match=r"'3\.0\.0'"):
        snapshot.route("sum", "3.0.0")
    with pytest.raises(VersionUnavailableError, match="is refused"):
        snapshot.route("sum", "2.0.0")
    with pytest.raises(VersionUnavailableError, match="is loading"):
        snapshot.route("sum", "4.0.0")
    with pytest.raises(VersionUnavailableError, match="no version"):
        build_snapshot([_refused("1.0.0")]).route("sum", "")


def test_an_alias_leads_to_its_version_and_says_where_that_does_not_serve(loaded: LoadedVersion) -> None:
    aliases = {("sum", "champion"): "1.0.0", ("sum", "next"): "2.0.0", ("sum", "lost"): "9.0.0"}
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0")], aliases)
    assert snapshot.route("sum", "champion").version == "1.0.0"
    with pytest.raises(VersionUnavailableError):
        snapshot.route("sum", "next")
    with pytest.raises(VersionNotFoundError):
        snapshot.route("sum", "lost")
    with pytest.raises(ModelNotFoundError):
        snapshot.route("other", "champion")


def test_models_are_ordered_by_name_and_the_snapshot_is_immutable(loaded: LoadedVersion) -> None:
    snapshot = build_snapshot([_serving(loaded, "1.0.0", model) for model in ("b", "a", "c")])
    assert list(snapshot.models) == ["a", "b", "c"]
    with pytest.raises(FrozenInstanceError):
        snapshot.models = {}  # type: ignore[misc] # that it cannot is the point
