from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.errors import ModelNotFoundError, VersionNotFoundError, VersionUnavailableError
from tests.bundles import write_tensor_bundle
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
        (["1.0.0+a", "1.0.0+b"], "1.0.0+b"),
    ],
)
def test_the_default_is_the_highest_release(loaded: LoadedVersion, versions: list[str], default: str) -> None:
    snapshot = build_snapshot(_serving(loaded, version) for version in versions)
    assert snapshot.models["sum"].default_version == default
    assert snapshot.route("sum", "").pick("").version == default


def test_a_refused_version_is_not_the_default(loaded: LoadedVersion) -> None:
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0"), _refused("no version")])
    assert snapshot.route("sum", "").pick("").version == "1.0.0"
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
    with pytest.raises(VersionUnavailableError, match=r"'4\.0\.0' of .* does not serve yet: it is LOADING"):
        snapshot.route("sum", "4.0.0")
    with pytest.raises(VersionUnavailableError, match="no release .* see ListModels for the reason"):
        build_snapshot([_refused("1.0.0")]).route("sum", "")
    with pytest.raises(VersionUnavailableError, match=r"no release .* yet: version '4\.0\.0' is LOADING"):
        build_snapshot([_refused("1.0.0"), loading]).route("sum", "")


def test_only_a_version_that_will_answer_by_default_is_waited_for(loaded: LoadedVersion) -> None:
    def told(*names: str, split: tuple[tuple[str, int], ...] = ()) -> str:
        loading = [VersionRecord("sum", name, models_pb2.VERSION_STATE_LOADING) for name in names]
        snapshot = build_snapshot([*loading, _refused("1.0.0")], {"sum": Routing(split=split)})
        with pytest.raises(VersionUnavailableError) as caught:
            snapshot.route("sum", "")
        return str(caught.value)

    assert told("3.0.0-rc.1", "no version").endswith(
        "serves; name a version, or see ListModels for the reason"
    )
    assert "yet: version '2.0.0' is LOADING" in told("3.0.0-rc.1", "2.0.0")
    assert "yet: version '3.0.0-rc.1' is LOADING" in told("3.0.0-rc.1", "2.0.0", split=(("3.0.0-rc.1", 100),))


def test_a_prerelease_serves_by_its_name_and_is_never_the_default(loaded: LoadedVersion) -> None:
    snapshot = build_snapshot([_serving(loaded, "2.0.0-rc.1")])
    assert snapshot.models["sum"].default_version == ""
    assert snapshot.route("sum", "2.0.0-rc.1").pick("").version == "2.0.0-rc.1"
    with pytest.raises(VersionUnavailableError, match="no release"):
        snapshot.route("sum", "")
    chosen = build_snapshot([_serving(loaded, "2.0.0-rc.1")], {"sum": Routing(split=(("2.0.0-rc.1", 1),))})
    assert chosen.models["sum"].default_version == "2.0.0-rc.1"


def test_an_alias_leads_to_its_version_and_says_where_that_does_not_serve(loaded: LoadedVersion) -> None:
    routing = Routing(aliases={"champion": "1.0.0", "next": "2.0.0", "lost": "9.0.0"})
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0")], {"sum": routing})
    assert snapshot.route("sum", "champion").pick("").version == "1.0.0"
    with pytest.raises(VersionUnavailableError):
        snapshot.route("sum", "next")
    with pytest.raises(VersionNotFoundError):
        snapshot.route("sum", "lost")
    with pytest.raises(ModelNotFoundError):
        snapshot.route("other", "champion")


def test_a_split_shares_out_the_calls_that_name_no_version(loaded: LoadedVersion) -> None:
    records = [_serving(loaded, version) for version in ("1.0.0", "1.1.0", "1.2.0")]
    routing = Routing(split=(("1.0.0", 90), ("1.1.0", 10)), shadow=Shadow("1.2.0", 0.5))
    snapshot = build_snapshot(records, {"sum": routing})
    route = snapshot.route("sum", "")
    assert {route.pick(f"key {i}").version for i in range(100)} == {"1.0.0", "1.1.0"}
    assert {route.pick("").version for _ in range(200)} == {"1.0.0", "1.1.0"}
    assert len({route.pick("one key").version for _ in range(20)}) == 1
    assert snapshot.models["sum"].default_version == "1.0.0"
    assert route.shadow is not None
    assert (route.shadow[0].version, route.shadow[1]) == ("1.2.0", 0.5)
    assert snapshot.route("sum", "1.2.0").shadow is None


def test_a_split_passes_over_what_does_not_serve(loaded: LoadedVersion) -> None:
    routing = Routing(split=(("1.0.0", 90), ("2.0.0", 10)), shadow=Shadow("2.0.0", 1.0))
    snapshot = build_snapshot([_serving(loaded, "1.0.0"), _refused("2.0.0")], {"sum": routing})
    assert {snapshot.route("sum", "").pick(f"{i}").version for i in range(50)} == {"1.0.0"}
    assert snapshot.route("sum", "").shadow is None
    fallen = build_snapshot([_serving(loaded, "1.5.0")], {"sum": routing})
    assert fallen.route("sum", "").pick("x").version == "1.5.0"


def test_models_are_ordered_by_name_and_the_snapshot_is_immutable(loaded: LoadedVersion) -> None:
    snapshot = build_snapshot([_serving(loaded, "1.0.0", model) for model in ("b", "a", "c")])
    assert list(snapshot.models) == ["a", "b", "c"]
    with pytest.raises(FrozenInstanceError):
        snapshot.models = {}  # type: ignore[misc] # that it cannot is the point


def test_a_class_and_a_text_are_no_score(tmp_path: Path) -> None:
    bundle = read_bundle(write_tensor_bundle(tmp_path))
    del bundle.manifest.schema.outputs[0]
    del bundle.manifest.tensors.outputs[0]
    assert loaded_version(bundle, zeros).score_output is None


def test_a_warning_names_a_few_aliases_only(loaded: LoadedVersion) -> None:
    routing = Routing(aliases={f"a{number:03}": "9.0.0" for number in range(200)}, shadow=Shadow("8.0.0", 1))
    model = build_snapshot([_serving(loaded, "1.0.0")], {"sum": routing}).models["sum"]
    assert model.missing == {"8.0.0", "9.0.0"}
    assert "a000, a001" in model.warning
    assert "shadow: 8.0.0 does not serve" in model.warning
    assert len(model.warning) < 200


def test_a_split_of_which_nothing_serves_says_what_answers(loaded: LoadedVersion) -> None:
    routing = Routing(split=(("9.0.0", 1), ("1.0.0", 0)))
    model = build_snapshot([_serving(loaded, "1.0.0")], {"sum": routing}).models["sum"]
    assert model.warning == "split: calls for 9.0.0, which should answer and cannot, are answered by 1.0.0"
    nothing = build_snapshot([_refused("9.0.0")], {"sum": routing}).models["sum"]
    assert "are not answered" in nothing.warning
