"""All versions that are known, which of them serve, and every change to that.

The catalog brings what is loaded in line with what the repository has, what the
version policy asks for and what operators have set, and publishes a snapshot
after each change. To be used from one event loop. What operators set is written
to the state file before it is in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias
from weakref import WeakValueDictionary

from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.records import Records, announce, refuse
from scorewire_server.catalog.repository import BundleFolder, Identity, Key, identify
from scorewire_server.catalog.routing import (
    check_alias,
    check_one_schema,
    check_share,
    check_split,
    log_warnings,
    needed,
    with_alias,
    without_alias,
)
from scorewire_server.catalog.selection import Selection
from scorewire_server.catalog.state import ModelState, StateFile
from scorewire_server.catalog.version_policy import VersionPolicy
from scorewire_server.engine.snapshot import (
    LoadedVersion,
    Routing,
    Shadow,
    Snapshot,
    VersionRecord,
    build_snapshot,
)
from scorewire_server.errors import (
    BundleRefusedError,
    NothingToRollBackError,
    StateNotKeptError,
    VersionInUseError,
    VersionNotFoundError,
    VersionNotServingError,
    clip,
    invalid_field,
    missing_model,
    model_not_found,
)
from scorewire_server.logs import log_fault, logger

_REFUSED = models_pb2.VERSION_STATE_REFUSED
_RETIRING = models_pb2.VERSION_STATE_RETIRING
_UNLOADED = models_pb2.VERSION_STATE_UNLOADED
_RETIRED_POLL_SECONDS = 0.02
# What takes longer to load than this holds up nothing that comes after it.
_PATIENCE_SECONDS = 2.0
_CHANGED = "its folder has changed since it was loaded; a version never changes: publish another"


# Loads a folder, or finds the reason to refuse it; the identity is that of its files.
Load: TypeAlias = Callable[[BundleFolder, Identity], Awaitable[VersionRecord]]


class Catalog:
    """Owns the records of all versions and the states of all models.

    Args:
        models: the repository.
        policy: which versions are loaded by themselves.
        state_file: where what operators set is kept.
        load: loads a folder.
        publish: makes a snapshot the one that answers.
        in_use: whether a version that was published still answers a call.
    """

    def __init__(
        self,
        models: Path,
        *,
        policy: VersionPolicy,
        state_file: StateFile,
        load: Load,
        publish: Callable[[Snapshot], None],
        in_use: Callable[[LoadedVersion], bool],
    ) -> None:
        self._state_file = state_file
        self._load_folder = load
        self._publish_snapshot = publish
        self._in_use = in_use
        self._selection = Selection(models, policy)
        self._records = Records()
        self._identities: dict[Key, Identity] = {}
        self._states = state_file.read()
        self._snapshot = build_snapshot(())
        # A version is loaded or unloaded by one at a time; changes of routing
        # never wait for that, so that a rollback is at hand while a bundle loads. Who
        # takes several locks takes them in this order, and versions by name.
        self._version_locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._state_lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._announced = False
        self._started = False

    @property
    def snapshot(self) -> Snapshot:
        """The state that was published last."""
        return self._snapshot

    def state(self, model: str) -> ModelState:
        """What was set for a model."""
        return self._states.get(model) or ModelState()

    async def refresh(self) -> None:
        """Look at the repository, and load and retire what that asks for.

        Raises:
            StartError: the repository cannot be read.
        """
        await self._selection.look()
        new = self._selection.folders.keys() - self._records.keys()
        for key in new:
            self._records[key] = replace(announce(self._selection.folders[key]), state=_UNLOADED)
        # What answers comes first, so that no other version takes its place at a start.
        wanted = sorted(
            filter(self._wanted, self._selection.folders),
            key=lambda key: (self.state(key.model).routing.answers(key.version), key.rank()),
            reverse=True,
        )
        if not self._announced:
            for key in wanted:
                self._records[key] = announce(self._selection.folders[key])
        if new or not self._announced:
            self._publish()
        first, self._announced = not self._announced, True
        loads: list[asyncio.Task[None]] = []
        try:
            for key in wanted:
                loads.append(asyncio.create_task(self._bring_up(key)))
                await asyncio.wait(loads[-1:], timeout=_PATIENCE_SECONDS)
            await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
        # Only now: what takes the place of a version serves before that one goes.
        for key in list(self._records):
            async with self._lock(key), self._state_lock:
                if not self._wanted(key):
                    self._ensure_unloaded(key)
        if first:
            self._started = True
            log_warnings(build_snapshot(()), self._snapshot)

    async def close(self) -> None:
        """End what waits for calls to leave."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _bring_up(self, key: Key) -> None:
        """Load a version if it is to serve; whatever comes of that, the others go on."""
        try:
            async with self._lock(key):
                if self._wanted(key):
                    await self._ensure_loaded(key)
        except Exception as error:
            log_fault(f"load {key.model} {key.version}", error)

    async def load_version(self, model: str, version: str, max_rows: int | None = None) -> None:
        """Load a version, whatever the policy says. Its folder may have come just now.

        With `max_rows` a call has at most so many, until the version is loaded again.

        Raises:
            CallError: there is no such version, or it is refused.
        """
        key = Key(model, version)
        async with self._lock(key):
            if key not in self._selection.folders:
                await self._selection.look()
            if key not in self._selection.folders:
                raise self._unknown(key)
            record = await self._ensure_loaded(key, again=True)
            if record.loaded is None:
                raise BundleRefusedError(
                    f"version {clip(version)!r} of model {clip(model)!r} is refused: {record.reason}",
                    **key._asdict(),
                )
            async with self._state_lock:
                try:
                    await self._set_explicit(key, wanted=True)
                except StateNotKeptError:
                    if not self._wanted(key):
                        self._ensure_unloaded(key)
                    raise
            if record.loaded.max_rows != max_rows:
                self._records[key] = replace(record, loaded=replace(record.loaded, max_rows=max_rows))
                self._publish()

    async def unload_version(self, model: str, version: str) -> None:
        """Take a version out of service.

        Raises:
            CallError: there is no such version, or routing names it.
        """
        key = Key(model, version)
        # Nobody can name a version between the look at who does and its end.
        async with self._lock(key), self._state_lock:
            if key not in self._records:
                raise self._unknown(key)
            if version in self.state(model).routing.versions():
                raise VersionInUseError(
                    f"an alias, the split or the shadow of model {clip(model)!r} names version"
                    f" {clip(version)!r}; change that first",
                    **key._asdict(),
                )
            await self._set_explicit(key, wanted=False)
            self._ensure_unloaded(key)

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Make an alias stand for a version that serves.

        Raises:
            CallError: it does not serve, or the alias is no name for one.
        """
        check_alias(alias)

        def change(routing: Routing) -> Routing:
            self._serving(model, version)
            return with_alias(routing, alias, version)

        await self._change_routing(model, change)

    async def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias.

        Raises:
            CallError: there is none of that name.
        """
        await self._change_routing(model, lambda routing: without_alias(routing, alias, model))

    async def set_split(self, model: str, weights: list[tuple[str, int]]) -> None:
        """Share the calls that name no version out; an empty split follows the highest release.

        Raises:
            CallError: a version does not serve, their schemas differ, or a weight is out of range.
        """
        check_split(weights)

        def change(routing: Routing) -> Routing:
            answering = [self._serving(model, version) for version, _ in weights]
            copied_to = self._records.get(Key(model, routing.shadow.version)) if routing.shadow else None
            if answering and copied_to is not None and copied_to.loaded is not None:
                answering.append(copied_to.loaded)
            check_one_schema(model, answering)
            return replace(routing, split=tuple(weights))

        await self._change_routing(model, change)

    async def set_shadow(self, model: str, shadow: Shadow | None) -> None:
        """Send copies of the calls that name no version to another; None for none.

        Raises:
            CallError: the version does not serve, its schema differs, or the share is out of range.
        """
        if shadow is not None:
            check_share(shadow.share)

        def change(routing: Routing) -> Routing:
            if shadow is not None:
                version = self._serving(model, shadow.version)
                answering = [target.version for target in self._snapshot.route(model, "").targets]
                if answering == [version]:
                    raise invalid_field("shadow.version", "it answers these calls itself; name another")
                check_one_schema(model, [*answering, version])
            return replace(routing, shadow=shadow)

        await self._change_routing(model, change)

    async def roll_back(self, model: str) -> None:
        """Bring back the routing before the last change, loading what it needs.

        Raises:
            CallError: nothing was changed yet, or a version that it names cannot serve.
        """
        self._check_model(model)
        while True:
            state = self.state(model)
            if not state.history:
                raise NothingToRollBackError(
                    f"no change of the routing of model {clip(model)!r} is left to take back", model=model
                )
            before = state.history[-1]
            async with AsyncExitStack() as held:
                # Held to the end, so that what is loaded here is there when it is to answer.
                for key in (Key(model, version) for version in sorted(before.versions())):
                    await held.enter_async_context(self._lock(key))
                    if key in self._selection.folders and not self._records.serves(key):
                        await self._ensure_loaded(key, again=True)
                await held.enter_async_context(self._state_lock)
                # Another may have changed it while a version was loaded.
                if self.state(model) is not state:
                    continue
                for key in (Key(model, version) for version in sorted(needed(before, state.routing))):
                    if not self._records.serves(key):
                        raise VersionNotServingError(
                            f"what answered before cannot: {self._records.standing(key)}; bring it back, or"
                            " set a split or an alias that leads to another",
                            **key._asdict(),
                        )
                await self._put_in_force(model, replace(state, routing=before, history=state.history[:-1]))
                return

    async def _change_routing(self, model: str, change: Callable[[Routing], Routing]) -> None:
        async with self._state_lock:
            self._check_model(model)
            state = self.state(model)
            routing = change(state.routing)
            if routing == state.routing:
                return
            default = self._snapshot.models[model].default_version
            if routing.split and not state.routing.split and default:
                # What follows the highest release is brought back as what answers now.
                state = state.pinned(default)
            await self._put_in_force(model, state.changed(routing))

    async def _put_in_force(self, model: str, state: ModelState) -> None:
        """Keep a state and publish it; one that cannot be published is not kept."""
        before = self.state(model)
        await self._keep(model, state)
        try:
            self._publish()
        except Exception:
            await self._keep(model, before)
            raise

    async def _set_explicit(self, key: Key, *, wanted: bool) -> None:
        """Say what the policy does not say of a version; the state's lock is held."""
        state = self.state(key.model)
        explicit = {version: flag for version, flag in state.explicit.items() if version != key.version}
        if (key in self._selection.selected) != wanted:
            explicit[key.version] = wanted
        if explicit != state.explicit:
            await self._keep(key.model, replace(state, explicit=explicit))

    async def _keep(self, model: str, state: ModelState) -> None:
        """Write a model's state, and only then have it in force."""
        states = {**self._states, model: state}
        try:
            await asyncio.to_thread(self._state_file.write, states)
        except OSError as error:
            logger().error("state not kept", file=str(self._state_file.path), reason=str(error))
            raise StateNotKeptError(
                f"nothing was changed, since it cannot be kept: {error.strerror}; see --state-file"
            ) from None
        self._states = states

    def _lock(self, key: Key) -> asyncio.Lock:
        """A version's lock, which is there for as long as anybody holds it or waits for it."""
        return self._version_locks.setdefault(key, asyncio.Lock())

    def _wanted(self, key: Key) -> bool:
        """Whether a version is in the repository and to serve."""
        state = self.state(key.model)
        chosen = state.explicit.get(key.version, key in self._selection.selected)
        return key in self._selection.folders and (chosen or key.version in state.routing.versions())

    async def _ensure_loaded(self, key: Key, *, again: bool = False) -> VersionRecord:
        """Load a folder that does not serve; its lock is held. One that was refused only if it changed.

        Args:
            key: of a folder.
            again: try one that was refused in any case.
        """
        folder, record = self._selection.folders[key], self._records.get(key)
        identity = await asyncio.to_thread(identify, folder.path)
        same = identity == self._identities.get(key)
        if record is not None and record.loaded is not None:
            if not same and not record.reason:
                logger().warning("version changed in place", model=key.model, version=key.version)
                self._records[key] = replace(record, reason=_CHANGED)
                self._publish()
            return record
        if record is not None and record.state == _REFUSED and same and not again:
            return record
        # Announced, unless there is something better to say of it.
        if record is None or record.state != _REFUSED:
            self._records[key] = announce(folder)
            self._publish()
        record = await self._load_folder(folder, identity)
        record = await self._enter(key, record, identity)
        log = logger().bind(model=key.model, version=key.version)
        if record.loaded is not None:
            log.info("version serves", joint_rows=record.loaded.max_shared_rows)
        else:
            log.error("version refused", reason=record.reason)
        return record

    async def _enter(self, key: Key, record: VersionRecord, identity: Identity) -> VersionRecord:
        """Publish what came of a load; where a release takes over by itself, that can be rolled back.

        A version that cannot be published is refused, and what answered before answers on.
        """
        async with self._state_lock:
            before, state = self._snapshot.models.get(key.model), self.state(key.model)
            previous = before.default_version if before is not None else ""
            after = build_snapshot({**self._records, key: record}.values(), self._routings())
            taken_over = previous not in ("", after.models[key.model].default_version)
            if self._started and taken_over and not state.routing.split:
                # Serving is worth more than the way back, which is only not told of.
                with suppress(StateNotKeptError):
                    await self._keep(key.model, state.pinned(previous).changed(state.routing))
            self._identities[key] = identity
            self._records[key] = record
            try:
                self._publish()
            except Exception as error:
                log_fault(f"publish {key.model} {key.version}", error)
                record = refuse(self._selection.folders[key], f"the engine does not take it: {error}")
                self._records[key] = record
                self._publish()
                if self.state(key.model) is not state:
                    with suppress(StateNotKeptError):
                        await self._keep(key.model, state)
        return record

    def _ensure_unloaded(self, key: Key) -> None:
        """Retire a version that serves, or forget one that is gone; its lock is held."""
        record = self._records.get(key)
        if record is None or record.state == _RETIRING:
            return
        if record.loaded is None:
            if record.state != _UNLOADED or key not in self._selection.folders:
                self._settle(key)
        else:
            logger().info("version retires", model=key.model, version=key.version)
            retiring = replace(record, state=_RETIRING, reason="", loaded=None)
            self._records[key] = retiring
            self._publish()
            task = asyncio.create_task(self._retire(key, retiring, record.loaded))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, key: Key, retiring: VersionRecord, loaded: LoadedVersion) -> None:
        """Wait until the last call has left a version."""
        while self._in_use(loaded):  # noqa: ASYNC110 - engines tell when they are asked
            await asyncio.sleep(_RETIRED_POLL_SECONDS)
        logger().info("version retired", model=key.model, version=key.version)
        if self._records.get(key) is retiring:
            self._settle(key)

    def _settle(self, key: Key) -> None:
        """The record of a version that is not loaded, as the repository has it."""
        self._identities.pop(key, None)
        self._records.pop(key, None)
        if key in self._selection.folders:
            self._records[key] = replace(announce(self._selection.folders[key]), state=_UNLOADED)
        self._publish()

    def _routings(self) -> dict[str, Routing]:
        return {model: state.routing for model, state in self._states.items()}

    def _publish(self) -> None:
        snapshot = build_snapshot(self._records.values(), self._routings())
        self._publish_snapshot(snapshot)
        before, self._snapshot = self._snapshot, snapshot
        if self._started:
            log_warnings(before, snapshot)

    def _check_model(self, model: str) -> None:
        if not model:
            raise missing_model()
        if model not in self._snapshot.models:
            raise model_not_found(model)

    def _serving(self, model: str, version: str) -> LoadedVersion:
        key = Key(model, version)
        record = self._records.get(key)
        if record is None:
            raise self._unknown(key)
        if record.loaded is None:
            raise VersionNotServingError(f"{self._records.standing(key)}; load it first", **key._asdict())
        return record.loaded

    def _unknown(self, key: Key) -> Exception:
        self._check_model(key.model)
        return VersionNotFoundError(
            f"model {clip(key.model)!r} has no version {clip(key.version)!r}; ListModels names them all",
            **key._asdict(),
        )
