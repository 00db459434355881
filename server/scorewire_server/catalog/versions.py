"""Loads and retires versions, until the loaded ones are the wanted ones.

A version is wanted if its folder is in the repository and the version policy
selects it, an operator has loaded it, or the routing names it. An operator may
also have unloaded a version that the policy selects.

Two changes at the same time must not undo each other, hence two kinds of locks:

- A version is loaded and unloaded under its own lock. The states of models, and
  what is published of them, change under `state_lock`.
- A task that takes several locks takes those of versions first, sorted by name,
  and `state_lock` last.
- A change of routing never waits for a load, so that operators can roll back
  while a bundle loads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias
from weakref import WeakValueDictionary

from scorewire_contract.memory import explain_memory
from scorewire_contract.service.logs import log_fault, logger
from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.records import Records, announce, refuse
from scorewire_server.catalog.repository import BundleFolder, Identity, Key, identify
from scorewire_server.catalog.routing import log_warnings
from scorewire_server.catalog.selection import Selection
from scorewire_server.catalog.state import ModelState, StateFile
from scorewire_server.catalog.version_policy import VersionPolicy
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Snapshot, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.errors import StateNotKeptError

_REFUSED = models_pb2.VERSION_STATE_REFUSED
_RETIRING = models_pb2.VERSION_STATE_RETIRING
_UNLOADED = models_pb2.VERSION_STATE_UNLOADED
_RETIRED_POLL_SECONDS = 0.02
# A load that takes longer than this no longer holds up the next one.
_PATIENCE_SECONDS = 2.0
_CHANGED = "its folder has changed since it was loaded; a version never changes: publish another"


# Loads the version in a folder, or finds the reason to refuse it. The identity is that of the folder's files.
Load: TypeAlias = Callable[[BundleFolder, Identity], Awaitable[VersionRecord]]


class Versions:
    """The records of all versions and the states of all models; to be used from one event loop.

    Args:
        models: the repository.
        policy: which versions are loaded unless operators say otherwise.
        state_file: where the states of models are kept.
        load: loads the version in a folder.
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
        self.records = Records()
        self._identities: dict[Key, Identity] = {}
        self._states = state_file.read()
        self._snapshot = build_snapshot(())
        # As the rules above say.
        self._version_locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self.state_lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._refreshed = False
        self._started = False

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that was published last."""
        return self._snapshot

    @property
    def folders(self) -> Mapping[Key, BundleFolder]:
        """The folders that the repository had at the last look."""
        return self._selection.folders

    @property
    def selected(self) -> Set[Key]:
        """The versions that the version policy selects."""
        return self._selection.selected

    async def look(self) -> None:
        """List the folders of the repository anew, without loading a version.

        Raises:
            StartError: the repository cannot be read.
        """
        await self._selection.look()

    def state(self, model: str) -> ModelState:
        """What operators have set for a model."""
        return self._states.get(model) or ModelState()

    async def announce(self) -> None:
        """Look at the repository, and publish the versions that are new: LOADING where they are wanted.

        Raises:
            StartError: the repository cannot be read.
        """
        await self._selection.look()
        folders = self._selection.folders
        new = folders.keys() - self.records.keys()
        for key in new:
            record = announce(folders[key])
            self.records[key] = record if self.wanted(key) else replace(record, state=_UNLOADED)
        if new:
            self.publish()

    async def refresh(self) -> None:
        """Look at the repository, load the wanted versions, and retire the others.

        Raises:
            StartError: the repository cannot be read.
        """
        await self.announce()
        # Versions that the routing answers with come first, so that no other takes their place at a start.
        wanted = sorted(
            filter(self.wanted, self._selection.folders),
            key=lambda key: (self.state(key.model).routing.answers(key.version), key.rank()),
            reverse=True,
        )
        first, self._refreshed = not self._refreshed, True
        loads: list[asyncio.Task[None]] = []
        try:
            for key in wanted:
                loads.append(asyncio.create_task(self._bring_up(key)))
                await asyncio.wait(loads[-1:], timeout=_PATIENCE_SECONDS)
            await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
        # Only now, so that a new version serves before the old one retires.
        for key in list(self.records):
            async with self.lock(key), self.state_lock:
                if not self.wanted(key):
                    self.ensure_unloaded(key)
        if first:
            self._started = True
            log_warnings(build_snapshot(()), self._snapshot)

    async def close(self) -> None:
        """Stop waiting for the last calls on versions that retire."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def _bring_up(self, key: Key) -> None:
        """Load a version if it is wanted; a failure is logged and does not reach the other versions."""
        try:
            async with self.lock(key):
                if self.wanted(key):
                    await self.ensure_loaded(key)
        except Exception as error:
            log_fault(f"load {key.model} {key.version}", error)

    def lock(self, key: Key) -> asyncio.Lock:
        """The lock of a version; it exists as long as a task holds it or waits for it."""
        return self._version_locks.setdefault(key, asyncio.Lock())

    def wanted(self, key: Key) -> bool:
        """Whether a version is to be loaded, as the module says."""
        state = self.state(key.model)
        chosen = state.explicit.get(key.version, key in self._selection.selected)
        return key in self._selection.folders and (chosen or key.version in state.routing.versions())

    async def ensure_loaded(self, key: Key, *, retry_refused: bool = False) -> VersionRecord:
        """Load a version unless it is loaded; the caller holds its lock.

        Args:
            key: a version whose folder is in the repository.
            retry_refused: whether to load a version again that was refused and whose files have not changed.

        Returns:
            The version's record, loaded or refused.
        """
        folder, record = self._selection.folders[key], self.records.get(key)
        identity = await asyncio.to_thread(identify, folder.path)
        same = identity == self._identities.get(key)
        if record is not None and record.loaded is not None:
            if not same and not record.reason:
                logger().warning("version changed in place", model=key.model, version=key.version)
                self.records[key] = replace(record, reason=_CHANGED)
                self.publish()
            return record
        if record is not None and record.state == _REFUSED and same and not retry_refused:
            return record
        # A refused version keeps its reason while it is loaded again.
        if record is None or record.state != _REFUSED:
            self.records[key] = announce(folder)
            self.publish()
        record = await self._load_folder(folder, identity)
        record = await self._enter(key, record, identity)
        log = logger().bind(model=key.model, version=key.version)
        if record.loaded is not None:
            runs_on = record.loaded.runs_on
            log.info(
                "version serves",
                runs_on=runs_on.name,
                runs_on_details=runs_on.details,
                joint_rows=record.loaded.max_shared_rows,
            )
        else:
            log.error("version refused", reason=record.reason)
        return record

    async def _enter(self, key: Key, record: VersionRecord, identity: Identity) -> VersionRecord:
        """Publish the record that a load ended with.

        A release that becomes the default by being the highest can be rolled back: the
        history gets the release before it. A version that the engine cannot publish is
        refused, and the versions that answered before go on answering.
        """
        async with self.state_lock:
            before, state = self._snapshot.models.get(key.model), self.state(key.model)
            previous = before.default_version if before is not None else ""
            after = build_snapshot({**self.records, key: record}.values(), self._routings())
            taken_over = previous not in ("", after.models[key.model].default_version)
            if self._started and taken_over and not state.routing.split:
                # A version serves even if its rollback cannot be kept.
                with suppress(StateNotKeptError):
                    await self.keep(key.model, state.pinned(previous).changed(state.routing))
            self._identities[key] = identity
            self.records[key] = record
            try:
                self.publish()
            except Exception as error:
                log_fault(f"publish {key.model} {key.version}", error)
                text = f"the engine cannot hold the version: {str(error) or type(error).__name__}"
                reason = explain_memory(text, "allow the server more memory, or unload other versions")
                record = refuse(self._selection.folders[key], reason)
                self.records[key] = record
                self.publish()
                if self.state(key.model) is not state:
                    with suppress(StateNotKeptError):
                        await self.keep(key.model, state)
        return record

    def ensure_unloaded(self, key: Key) -> None:
        """Retire a loaded version, or forget one whose folder is gone; the caller holds its lock."""
        record = self.records.get(key)
        if record is None or record.state == _RETIRING:
            return
        if record.loaded is None:
            if record.state != _UNLOADED or key not in self._selection.folders:
                self._settle(key)
        else:
            logger().info("version retires", model=key.model, version=key.version)
            retiring = replace(record, state=_RETIRING, reason="", loaded=None)
            self.records[key] = retiring
            self.publish()
            task = asyncio.create_task(self._retire(key, retiring, record.loaded))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, key: Key, retiring: VersionRecord, loaded: LoadedVersion) -> None:
        """Wait until the last call on a version has ended."""
        while self._in_use(loaded):  # noqa: ASYNC110 - engines send no event
            await asyncio.sleep(_RETIRED_POLL_SECONDS)
        logger().info("version retired", model=key.model, version=key.version)
        if self.records.get(key) is retiring:
            self._settle(key)

    def _settle(self, key: Key) -> None:
        """Record a version as unloaded, or forget it where its folder is gone."""
        self._identities.pop(key, None)
        self.records.pop(key, None)
        if key in self._selection.folders:
            self.records[key] = replace(announce(self._selection.folders[key]), state=_UNLOADED)
        self.publish()

    async def keep(self, model: str, state: ModelState) -> None:
        """Write a model's state to the state file, and only then put it in force.

        Raises:
            StateNotKeptError: the file cannot be written; the state before stays in force.
        """
        states = {**self._states, model: state}
        try:
            await asyncio.to_thread(self._state_file.write, states)
        except OSError as error:
            logger().error("state not kept", file=str(self._state_file.path), reason=str(error))
            raise StateNotKeptError(
                f"nothing was changed: the state file cannot be written ({error.strerror}); see --state-file"
            ) from None
        self._states = states

    def _routings(self) -> dict[str, Routing]:
        return {model: state.routing for model, state in self._states.items()}

    def publish(self) -> None:
        """Build a snapshot of all records and states, and make it the one that answers.

        Raises:
            Exception: the engine does not take the snapshot; the one before stays.
        """
        snapshot = build_snapshot(self.records.values(), self._routings())
        self._publish_snapshot(snapshot)
        before, self._snapshot = self._snapshot, snapshot
        if self._started:
            log_warnings(before, snapshot)
