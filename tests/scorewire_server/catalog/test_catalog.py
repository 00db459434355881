"""The catalog on its own: folders are empty and loads are faked, so that a test can stop at every step."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import models_pb2
from scorewire_server import errors
from scorewire_server.catalog import selection, versions
from scorewire_server.catalog.catalog import Catalog
from scorewire_server.catalog.records import announce, refuse
from scorewire_server.catalog.repository import BundleFolder, Identity, Key, scan
from scorewire_server.catalog.routing import MAX_ALIASES
from scorewire_server.catalog.state import ModelState, StateFile
from scorewire_server.catalog.version_policy import parse_version_policy
from scorewire_server.catalog.versions import Versions
from scorewire_server.engine.snapshot import Routing, Shadow, Snapshot, VersionRecord
from tests.scorewire_server.models import loaded_version, zeros


class World:
    """A repository, a catalog on it, and the snapshots that an engine would get."""

    def __init__(self, folder: Path, bundle: Bundle, policy: str = "all") -> None:
        self.models = folder / "models"
        self.models.mkdir(exist_ok=True)
        self.bundle = bundle
        self.state_file = StateFile(folder / "state.json")
        self.bad: set[str] = set()
        self.fingerprints: dict[str, str] = {}
        self.loads: list[str] = []
        self.published: list[Snapshot] = []
        self.busy: set[str] = set()
        self.policy = policy
        self.restart()

    def restart(self) -> None:
        self.versions = Versions(
            self.models,
            policy=parse_version_policy(self.policy),
            state_file=self.state_file,
            load=self._load,
            publish=self.published.append,
            in_use=lambda version: version.version in self.busy,
        )
        self.catalog = Catalog(self.versions)

    def add(self, *versions: str) -> None:
        for version in versions:
            (self.models / "sum" / version).mkdir(parents=True)

    def remove(self, version: str) -> None:
        shutil.rmtree(self.models / "sum" / version)

    async def _load(self, folder: BundleFolder, _: Identity) -> VersionRecord:
        self.loads.append(folder.version)
        await asyncio.sleep(0)
        if folder.version in self.bad:
            return refuse(folder, "it is bad")
        loaded = replace(
            loaded_version(self.bundle, zeros),
            version=folder.version,
            fingerprint=self.fingerprints.get(folder.version, "same"),
        )
        return replace(announce(folder), state=models_pb2.VERSION_STATE_SERVING, loaded=loaded)

    @property
    def states(self) -> dict[str, str]:
        record = self.catalog.snapshot.models.get("sum")
        return {
            each.version: models_pb2.VersionState.Name(each.state).removeprefix("VERSION_STATE_")
            for each in (record.versions if record else ())
        }

    @property
    def default(self) -> str:
        return self.catalog.snapshot.models["sum"].default_version

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - the catalog tells of no event
                await asyncio.sleep(0.005)


@pytest.fixture
def world(tmp_path: Path, sum_bundle: Bundle) -> World:
    return World(tmp_path, sum_bundle)


def route(snapshot: Snapshot, name: str = "") -> list[str]:
    return [target.version.version for target in snapshot.route("sum", name).targets]


async def test_a_release_that_comes_takes_over_and_can_be_taken_back(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    world.add("1.1.0")
    await world.catalog.refresh()
    assert (world.default, world.loads) == ("1.1.0", ["1.0.0", "1.1.0"])
    await world.catalog.roll_back("sum")
    assert world.default == "1.0.0"
    world.add("1.2.0")
    await world.catalog.refresh()
    # A rollback holds until an operator changes the routing again.
    assert world.default == "1.0.0"
    await world.catalog.set_split("sum", [])
    assert world.default == "1.2.0"


async def test_no_answer_comes_from_a_release_before_its_way_back_is_kept(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    world.add("1.1.0")
    kept: list[int] = []
    publish = world.versions._publish_snapshot

    def look(snapshot: Snapshot) -> None:
        if snapshot.models["sum"].default_version == "1.1.0":
            kept.append(len(world.state_file.read()["sum"].history))
        publish(snapshot)

    world.versions._publish_snapshot = look
    await world.catalog.refresh()
    assert kept == [1]


async def test_the_versions_of_a_first_start_are_no_change(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    with pytest.raises(errors.NothingToRollBackError):
        await world.catalog.roll_back("sum")


async def test_a_refused_version_leaves_all_as_it_was_and_is_tried_again_when_it_changes(
    world: World,
) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    world.bad = {"1.1.0"}
    world.add("1.1.0")
    await world.catalog.refresh()
    await world.catalog.refresh()
    assert world.loads == ["1.0.0", "1.1.0"]
    assert world.states == {"1.1.0": "REFUSED", "1.0.0": "SERVING"}
    assert world.default == "1.0.0"
    world.bad = set()
    (world.models / "sum" / "1.1.0" / "mended").touch()
    await world.catalog.refresh()
    assert world.default == "1.1.0"


async def test_a_version_that_changed_in_place_serves_on_and_says_so(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    (world.models / "sum" / "1.0.0" / "other").touch()
    await world.catalog.refresh()
    (record,) = world.catalog.snapshot.models["sum"].versions
    assert record.loaded is not None
    assert "a version never changes" in record.reason
    assert world.loads == ["1.0.0"]


async def test_a_removed_version_is_retired_after_its_last_call(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    world.busy = {"1.1.0"}
    world.remove("1.1.0")
    await world.catalog.refresh()
    assert world.states == {"1.1.0": "RETIRING", "1.0.0": "SERVING"}
    assert route(world.catalog.snapshot) == ["1.0.0"]
    await world.catalog.refresh()
    assert world.states["1.1.0"] == "RETIRING"
    world.busy = set()
    await world.until(lambda: world.states == {"1.0.0": "SERVING"})


async def test_latest_n_loads_the_new_before_it_drops_the_old(tmp_path: Path, sum_bundle: Bundle) -> None:
    world = World(tmp_path, sum_bundle, "latest:1")
    world.add("1.0.0")
    await world.catalog.refresh()
    world.add("1.1.0", "2.0.0-rc.1")
    world.published.clear()
    await world.catalog.refresh()
    assert all(snapshot.models["sum"].default_version for snapshot in world.published)
    await world.until(lambda: world.states["1.0.0"] == "UNLOADED")
    assert world.states == {"2.0.0-rc.1": "UNLOADED", "1.1.0": "SERVING", "1.0.0": "UNLOADED"}
    # The rollback has to load a version.
    await world.catalog.roll_back("sum")
    assert world.default == "1.0.0"
    await world.catalog.refresh()
    assert world.states["1.0.0"] == "SERVING"


async def test_what_was_set_is_in_force_after_a_restart(world: World) -> None:
    world.add("1.0.0", "1.1.0", "2.0.0-rc.1")
    await world.catalog.refresh()
    await world.catalog.set_split("sum", [("1.0.0", 90), ("1.1.0", 10)])
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    await world.catalog.set_shadow("sum", Shadow("2.0.0-rc.1", 0.5))
    world.restart()
    await world.catalog.refresh()
    snapshot = world.catalog.snapshot
    assert route(snapshot) == ["1.0.0", "1.1.0"]
    assert route(snapshot, "stable") == ["1.0.0"]
    assert snapshot.models["sum"].routing.shadow == Shadow("2.0.0-rc.1", 0.5)
    await world.catalog.roll_back("sum")
    assert world.catalog.snapshot.models["sum"].routing.shadow is None


async def test_an_explicit_load_or_unload_outlives_a_look_and_a_restart(
    tmp_path: Path, sum_bundle: Bundle
) -> None:
    world = World(tmp_path, sum_bundle, "latest:1")
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    await world.catalog.load_version("sum", "1.0.0")
    await world.catalog.unload_version("sum", "1.1.0")
    for _ in range(2):
        await world.catalog.refresh()
        await world.until(lambda: world.states == {"1.1.0": "UNLOADED", "1.0.0": "SERVING"})
        world.restart()
    await world.catalog.refresh()
    await world.catalog.unload_version("sum", "1.0.0")
    await world.catalog.load_version("sum", "1.1.0")
    # Only deviations from the policy are kept.
    assert json.loads(world.state_file.path.read_bytes())["models"]["sum"]["explicit"] == {}


async def test_a_version_that_came_just_now_can_be_loaded(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    world.add("1.1.0")
    await world.catalog.load_version("sum", "1.1.0")
    assert world.default == "1.1.0"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda catalog: catalog.set_alias("sum", "stable", "9.0.0"), errors.VersionNotFoundError),
        (lambda catalog: catalog.set_alias("sum", "stable", "1.1.0"), errors.VersionNotServingError),
        (lambda catalog: catalog.set_alias("sum", "1.0.0", "1.0.0"), errors.InvalidRequestError),
        (lambda catalog: catalog.set_alias("none", "stable", "1.0.0"), errors.ModelNotFoundError),
        (lambda catalog: catalog.set_alias("", "stable", "1.0.0"), errors.InvalidRequestError),
        (lambda catalog: catalog.delete_alias("sum", "stable"), errors.VersionNotFoundError),
        (lambda catalog: catalog.set_split("sum", [("1.0.0", 0)]), errors.InvalidRequestError),
        (lambda catalog: catalog.set_split("sum", [("1.0.0", 1_000_001)]), errors.InvalidRequestError),
        (lambda catalog: catalog.set_split("sum", [("1.0.0", 1)] * 2), errors.InvalidRequestError),
        (
            lambda catalog: catalog.set_split("sum", [(f"1.0.{n}", 1) for n in range(17)]),
            errors.InvalidRequestError,
        ),
        (
            lambda catalog: catalog.set_split("sum", [("1.0.0", 1), ("1.1.0", 1)]),
            errors.VersionNotServingError,
        ),
        (lambda catalog: catalog.set_split("sum", [("1.0.0", 1), ("2.0.0", 1)]), errors.SchemaMismatchError),
        (lambda catalog: catalog.set_shadow("sum", Shadow("1.0.0", 0.0)), errors.InvalidRequestError),
        (
            lambda catalog: catalog.set_shadow("sum", Shadow("1.0.0", float("nan"))),
            errors.InvalidRequestError,
        ),
        (lambda catalog: catalog.set_shadow("sum", Shadow("1.0.0", 0.5)), errors.SchemaMismatchError),
        (lambda catalog: catalog.set_shadow("sum", Shadow("2.0.0", 0.5)), errors.InvalidRequestError),
        (lambda catalog: catalog.load_version("sum", "9.0.0"), errors.VersionNotFoundError),
        (lambda catalog: catalog.load_version("sum", "1.1.0"), errors.BundleRefusedError),
        (lambda catalog: catalog.unload_version("sum", "9.0.0"), errors.VersionNotFoundError),
        (lambda catalog: catalog.roll_back("none"), errors.ModelNotFoundError),
    ],
)
async def test_a_change_that_cannot_be_changes_nothing(
    world: World, change: Any, error: type[Exception]
) -> None:
    world.bad, world.fingerprints = {"1.1.0"}, {"2.0.0": "other"}
    world.add("1.0.0", "1.1.0", "2.0.0")
    await world.catalog.refresh()
    before = world.catalog.snapshot.models["sum"].routing
    with pytest.raises(error):
        await change(world.catalog)
    assert world.catalog.snapshot.models["sum"].routing == before
    assert not world.state_file.path.exists()


async def test_a_change_that_cannot_be_kept_is_not_made(world: World) -> None:
    world.state_file = StateFile(world.models / "none" / "state.json")
    world.restart()
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    with pytest.raises(errors.StateNotKeptError, match="--state-file"):
        await world.catalog.set_alias("sum", "stable", "1.0.0")
    assert world.catalog.snapshot.models["sum"].routing.aliases == {}
    with pytest.raises(errors.VersionNotFoundError):
        world.catalog.snapshot.route("sum", "stable")


async def test_a_rollback_to_what_cannot_serve_fails_and_changes_nothing(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    await world.catalog.set_split("sum", [("1.0.0", 1)])
    await world.catalog.set_split("sum", [("1.1.0", 1)])
    world.remove("1.0.0")
    await world.catalog.refresh()
    await world.until(lambda: world.states == {"1.1.0": "SERVING"})
    with pytest.raises(
        errors.VersionNotServingError, match="'1.0.0' of model 'sum' is not in the repository"
    ):
        await world.catalog.roll_back("sum")
    assert (world.default, len(world.catalog.state("sum").history)) == ("1.1.0", 2)
    world.add("1.0.0")
    world.bad = {"1.0.0"}
    await world.catalog.refresh()
    with pytest.raises(errors.VersionNotServingError, match=r"refused \(it is bad\)"):
        await world.catalog.roll_back("sum")


async def test_an_alias_and_a_shadow_of_what_is_gone_do_not_bar_the_way_back(world: World) -> None:
    world.add("1.0.0", "1.1.0", "1.2.0")
    await world.catalog.refresh()
    await world.catalog.set_alias("sum", "old", "1.0.0")
    await world.catalog.set_shadow("sum", Shadow("1.0.0", 1.0))
    await world.catalog.set_split("sum", [("1.1.0", 1)])
    await world.catalog.set_shadow("sum", None)
    await world.catalog.set_split("sum", [("1.2.0", 1)])
    world.remove("1.0.0")
    await world.catalog.refresh()
    await world.until(lambda: "1.0.0" not in world.states)
    for default in ("1.1.0", "1.1.0", "1.2.0"):
        await world.catalog.roll_back("sum")
        assert world.default == default
    assert world.catalog.snapshot.models["sum"].routing.aliases == {"old": "1.0.0"}


async def test_no_step_back_brings_what_came_later(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    world.add("1.1.0")
    await world.catalog.refresh()
    assert world.default == "1.1.0"
    for _ in range(2):
        await world.catalog.roll_back("sum")
        assert world.default == "1.0.0"


async def test_no_step_back_over_a_split_brings_what_came_meanwhile(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    await world.catalog.set_split("sum", [("1.0.0", 1)])
    world.add("1.2.0")
    await world.catalog.refresh()
    for _ in range(2):
        await world.catalog.roll_back("sum")
        assert world.default == "1.1.0"


async def test_a_version_that_is_lost_from_a_split_gives_its_calls_to_the_others(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    await world.catalog.set_split("sum", [("1.0.0", 90), ("1.1.0", 10)])
    world.remove("1.0.0")
    await world.catalog.refresh()
    assert route(world.catalog.snapshot) == ["1.1.0"]


async def test_changes_at_once_are_all_kept(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    await asyncio.gather(*(world.catalog.set_alias("sum", f"a{number}", "1.0.0") for number in range(20)))
    assert len(world.catalog.snapshot.models["sum"].routing.aliases) == 20
    assert set(world.state_file.read()["sum"].routing.aliases) == {f"a{number}" for number in range(20)}


async def test_a_model_whose_last_version_goes_is_forgotten_and_what_was_set_is_kept(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    world.remove("1.0.0")
    await world.catalog.refresh()
    await world.until(lambda: world.states == {})
    world.add("1.0.0")
    await world.catalog.refresh()
    assert route(world.catalog.snapshot, "stable") == ["1.0.0"]


async def test_nothing_of_a_version_is_left_when_it_is_retired(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    version = weakref.ref(world.catalog.snapshot.route("sum", "1.1.0").heaviest)
    world.remove("1.1.0")
    await world.catalog.refresh()
    await world.until(lambda: world.states == {"1.0.0": "SERVING"})
    world.published.clear()
    await world.until(lambda: gc.collect() >= 0 and version() is None)


@contextmanager
def writing_held(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The state file is not written before the event is set."""
    written, write = threading.Event(), world.state_file.write

    def held(*arguments: Any) -> None:
        assert written.wait(60)
        write(*arguments)

    monkeypatch.setattr(world.state_file, "write", held)
    yield written
    written.set()


async def test_a_version_that_is_about_to_be_named_is_not_unloaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    with writing_held(world, monkeypatch) as written:
        naming = asyncio.create_task(world.catalog.set_alias("sum", "stable", "1.0.0"))
        await world.until(world.versions.state_lock.locked)
        unloading = asyncio.create_task(world.catalog.unload_version("sum", "1.0.0"))
        await world.until(world.versions.lock(Key("sum", "1.0.0")).locked)
        written.set()
        await naming
        with pytest.raises(errors.VersionInUseError):
            await unloading
    assert route(world.catalog.snapshot, "stable") == ["1.0.0"]


async def test_a_version_that_is_about_to_be_unloaded_is_not_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    with writing_held(world, monkeypatch) as written:
        unloading = asyncio.create_task(world.catalog.unload_version("sum", "1.0.0"))
        await world.until(world.versions.state_lock.locked)
        naming = asyncio.create_task(world.catalog.set_split("sum", [("1.0.0", 1)]))
        written.set()
        await unloading
        with pytest.raises(errors.VersionNotServingError):
            await naming
    assert world.default == "1.1.0"


async def test_a_look_does_not_retire_what_is_about_to_be_named(
    tmp_path: Path, sum_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, sum_bundle, "latest:1")
    world.add("1.0.0")
    await world.catalog.refresh()
    world.add("1.1.0")
    lock = world.versions.lock(Key("sum", "1.0.0"))
    looking = asyncio.create_task(world.catalog.refresh())
    await world.until(lambda: world.default == "1.1.0" or looking.done())
    with writing_held(world, monkeypatch) as written:
        # The look has either retired the version already, or the version stays.
        naming = asyncio.create_task(world.catalog.set_alias("sum", "stable", "1.0.0"))
        await world.until(lambda: lock.locked() or looking.done() or naming.done())
        written.set()
        await looking
        await asyncio.wait([naming])
    if naming.exception() is None:
        assert route(world.catalog.snapshot, "stable") == ["1.0.0"]
    else:
        assert isinstance(naming.exception(), errors.VersionNotServingError)


async def test_a_load_that_cannot_be_kept_is_taken_back(tmp_path: Path, sum_bundle: Bundle) -> None:
    world = World(tmp_path, sum_bundle, "latest:1")
    world.state_file = StateFile(world.models / "none" / "state.json")
    world.restart()
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    with pytest.raises(errors.StateNotKeptError):
        await world.catalog.load_version("sum", "1.0.0")
    await world.until(lambda: world.states == {"1.1.0": "SERVING", "1.0.0": "UNLOADED"})


async def test_a_folder_that_is_no_version_can_be_unloaded_and_what_was_set_is_read_again(
    world: World,
) -> None:
    world.bad = {"latest"}
    world.add("1.0.0", "latest")
    await world.catalog.refresh()
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    await world.catalog.unload_version("sum", "latest")
    world.restart()
    await world.catalog.refresh()
    assert world.states == {"1.0.0": "SERVING", "latest": "UNLOADED"}
    assert route(world.catalog.snapshot, "stable") == ["1.0.0"]


async def test_a_split_takes_the_rows_of_its_shadow(world: World) -> None:
    world.fingerprints = {"2.0.0": "other"}
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    await world.catalog.set_shadow("sum", Shadow("1.0.0", 1.0))
    # A new release still takes over; the shadow gets no rows that it cannot read.
    world.add("2.0.0")
    await world.catalog.refresh()
    assert world.default == "2.0.0"
    assert world.catalog.snapshot.route("sum", "").shadow is None
    with pytest.raises(errors.SchemaMismatchError, match=r"2\.0\.0 other, 1\.0\.0 same"):
        await world.catalog.set_split("sum", [("2.0.0", 1)])
    await world.catalog.set_split("sum", [("1.1.0", 1)])
    assert world.catalog.snapshot.route("sum", "").shadow is not None
    # A shadow that becomes the only version to answer gets no copies of its own calls.
    await world.catalog.set_split("sum", [("1.0.0", 1)])
    assert world.catalog.snapshot.route("sum", "").shadow is None


async def test_a_rollback_keeps_what_it_loads_from_a_look_that_does_not_want_it(
    tmp_path: Path, sum_bundle: Bundle
) -> None:
    world = World(tmp_path, sum_bundle, "latest:1")
    world.add("1.0.0")
    await world.catalog.refresh()
    for minor in range(1, 20):
        world.add(f"1.{minor}.0")
        await world.catalog.refresh()
        looks = [asyncio.create_task(world.catalog.refresh()) for _ in range(3)]
        await world.catalog.roll_back("sum")
        await asyncio.gather(*looks)
        assert world.default == f"1.{minor - 1}.0"
        await world.catalog.set_split("sum", [])
        assert world.default == f"1.{minor}.0"


async def test_an_earlier_look_takes_nothing_back_of_a_later_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    looked, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def slow(models: Path) -> list[BundleFolder]:
        found = scan(models)
        looked.release()
        assert go_on.acquire(timeout=60)
        return found

    monkeypatch.setattr(selection, "scan", slow)
    earlier = asyncio.create_task(world.catalog.refresh())
    await asyncio.to_thread(looked.acquire)
    world.add("1.1.0")
    loading = asyncio.create_task(world.catalog.load_version("sum", "1.1.0"))
    await world.until(world.versions.lock(Key("sum", "1.1.0")).locked)
    go_on.release(2)
    await asyncio.gather(earlier, loading)
    assert world.states == {"1.1.0": "SERVING", "1.0.0": "SERVING"}


async def test_only_news_is_published(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    world.published.clear()
    await world.catalog.refresh()
    assert world.published == []


async def test_nothing_is_kept_of_versions_that_are_not_there(world: World) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    for number in range(20):
        with pytest.raises(errors.VersionNotFoundError):
            await world.catalog.load_version("sum", f"9.{number}.0")
    assert set(world.versions._version_locks) == set()


async def test_a_version_that_cannot_be_published_is_refused_and_the_old_snapshot_stays(
    world: World,
) -> None:
    world.add("1.0.0")
    await world.catalog.refresh()
    before = world.catalog.state("sum")

    def publish(snapshot: Snapshot) -> None:
        if any(each.version.version == "1.1.0" for route in snapshot.routes() for each in route.targets):
            raise OverflowError("no engine holds it")
        world.published.append(snapshot)

    world.versions._publish_snapshot = publish
    world.add("1.1.0")
    await world.catalog.refresh()
    assert world.states == {"1.1.0": "REFUSED", "1.0.0": "SERVING"}
    assert world.default == "1.0.0"
    assert world.published[-1].models["sum"].default_version == "1.0.0"
    (record, _) = world.catalog.snapshot.models["sum"].versions
    assert record.reason == "the engine cannot hold the version: no engine holds it"
    assert world.catalog.state("sum").routing == before.routing
    assert world.catalog.state("sum").history == before.history
    # As after any refusal, the version is not loaded again until its files change.
    await world.catalog.refresh()
    assert world.loads == ["1.0.0", "1.1.0"]


async def test_a_routing_that_cannot_be_published_is_not_kept(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()

    def publish(snapshot: Snapshot) -> None:
        raise OverflowError

    publish_before, world.versions._publish_snapshot = world.versions._publish_snapshot, publish
    with pytest.raises(OverflowError):
        await world.catalog.set_split("sum", [("1.0.0", 1)])
    assert world.catalog.state("sum").routing.split == ()
    assert world.state_file.read()["sum"].routing.split == ()
    world.versions._publish_snapshot = publish_before
    await world.catalog.set_split("sum", [("1.0.0", 1)])
    assert world.default == "1.0.0"


async def test_a_load_that_takes_long_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_PATIENCE_SECONDS", 0.01)
    end, load = asyncio.Event(), world.versions._load_folder

    async def slow(folder: BundleFolder, identity: Identity) -> VersionRecord:
        if folder.version == "2.0.0":
            await end.wait()
        return await load(folder, identity)

    world.versions._load_folder = slow
    world.add("1.0.0", "2.0.0")
    looking = asyncio.create_task(world.catalog.refresh())
    await world.until(lambda: world.states.get("1.0.0") == "SERVING")
    assert world.states["2.0.0"] == "LOADING"
    world.add("1.1.0")
    await world.catalog.load_version("sum", "1.1.0")
    assert world.default == "1.1.0"
    end.set()
    await looking
    assert world.default == "2.0.0"


async def test_a_load_that_fails_by_a_fault_ends_no_look(world: World) -> None:
    load = world.versions._load_folder

    async def failing(folder: BundleFolder, identity: Identity) -> VersionRecord:
        if folder.version == "1.1.0":
            raise RuntimeError
        return await load(folder, identity)

    world.versions._load_folder = failing
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    assert world.states["1.0.0"] == "SERVING"


def _warnings(logs: Sequence[Any]) -> list[str]:
    return [entry["reason"] for entry in logs if entry["event"] == "routing not in force"]


async def test_what_of_the_routing_is_not_in_force_is_said(world: World) -> None:
    world.add("1.0.0", "1.1.0", "1.2.0")
    await world.catalog.refresh()
    await world.catalog.set_split("sum", [("1.0.0", 90), ("1.1.0", 10)])
    await world.catalog.set_alias("sum", "stable", "1.0.0")
    assert world.catalog.snapshot.models["sum"].warning == ""
    world.remove("1.0.0")
    with capture_logs() as logs:
        await world.catalog.refresh()
        await world.catalog.refresh()
    (warning,) = _warnings(logs)
    assert warning == world.catalog.snapshot.models["sum"].warning
    assert (
        "split: calls for 1.0.0, which should answer and cannot, are answered by the others of the split"
        in warning
    )
    assert "aliases: stable stand for versions that do not serve" in warning
    assert world.catalog.snapshot.models["sum"].missing == {"1.0.0"}
    assert route(world.catalog.snapshot) == ["1.1.0"]
    world.remove("1.1.0")
    with capture_logs() as logs:
        await world.catalog.refresh()
    (warning,) = _warnings(logs)
    assert "split: calls for 1.0.0, 1.1.0, which should answer and cannot, are answered by 1.2.0" in warning
    assert route(world.catalog.snapshot) == ["1.2.0"]
    world.restart()
    with capture_logs() as logs:
        await world.catalog.refresh()
    assert _warnings(logs) == [warning]
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    assert world.catalog.snapshot.models["sum"].warning == ""


async def test_no_release_answers_for_a_split_that_is_about_to_be_loaded(world: World) -> None:
    world.add("1.0.0", "1.1.0", "2.0.0")
    await world.catalog.refresh()
    await world.catalog.set_split("sum", [("1.0.0", 1)])
    world.restart()
    world.published.clear()
    world.loads.clear()
    with capture_logs() as logs:
        await world.catalog.refresh()
    assert world.loads == ["1.0.0", "2.0.0", "1.1.0"]
    assert {snapshot.models["sum"].default_version for snapshot in world.published} == {"", "1.0.0"}
    assert _warnings(logs) == []


async def test_the_aliases_of_a_model_are_bounded(world: World) -> None:
    world.add("1.0.0", "1.1.0")
    await world.catalog.refresh()
    full = Routing(aliases={f"a{number}": "1.0.0" for number in range(MAX_ALIASES)})
    world.state_file.write({"sum": ModelState(full)})
    world.restart()
    await world.catalog.refresh()
    with pytest.raises(errors.InvalidRequestError, match=f"the model has {MAX_ALIASES} aliases"):
        await world.catalog.set_alias("sum", "one-more", "1.0.0")
    await world.catalog.set_alias("sum", "a0", "1.1.0")
    await world.catalog.delete_alias("sum", "a1")
    await world.catalog.set_alias("sum", "one-more", "1.0.0")
    assert len(world.catalog.state("sum").routing.aliases) == MAX_ALIASES
