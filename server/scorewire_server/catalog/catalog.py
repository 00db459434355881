"""The changes that operators can ask for: load, unload, alias, split, shadow, rollback.

Each change is checked against the snapshot that answers, then written to the state
file, and only then put in force. A change that fails changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from scorewire_server.catalog.repository import Key
from scorewire_server.catalog.routing import (
    check_alias,
    check_one_schema,
    check_share,
    check_split,
    needed,
    with_alias,
    without_alias,
)
from scorewire_server.catalog.state import ModelState
from scorewire_server.catalog.versions import Versions
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, Snapshot
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


class Catalog:
    """All models and versions, and the changes to them; to be used from one event loop."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that was published last."""
        return self._versions.snapshot

    def state(self, model: str) -> ModelState:
        """What operators have set for a model."""
        return self._versions.state(model)

    async def announce(self) -> None:
        """Look at the repository, and publish the versions that are new, without loading them.

        Raises:
            StartError: the repository cannot be read.
        """
        await self._versions.announce()

    async def refresh(self) -> None:
        """Look at the repository, load the wanted versions, and retire the others.

        Raises:
            StartError: the repository cannot be read.
        """
        await self._versions.refresh()

    async def close(self) -> None:
        """Stop waiting for the last calls on versions that retire."""
        await self._versions.close()

    async def load_version(self, model: str, version: str, max_rows: int | None = None) -> None:
        """Load a version, whatever the version policy says; its folder may be new.

        Args:
            model: the model's name.
            version: the version's name.
            max_rows: the most rows of one call of this version; None is the server's limit. Holds
                until the version is loaded again.

        Raises:
            CallError: the repository has no such version, the version is refused, or the change
                cannot be kept.
        """
        key = Key(model, version)
        async with self._versions.lock(key):
            if key not in self._versions.folders:
                await self._versions.look()
            if key not in self._versions.folders:
                raise self._unknown(key)
            record = await self._versions.ensure_loaded(key, retry_refused=True)
            if record.loaded is None:
                raise BundleRefusedError(
                    f"version {clip(version)!r} of model {clip(model)!r} is refused: {record.reason}",
                    **key._asdict(),
                )
            async with self._versions.state_lock:
                try:
                    await self._set_explicit(key, wanted=True)
                except StateNotKeptError:
                    if not self._versions.wanted(key):
                        self._versions.ensure_unloaded(key)
                    raise
            if record.loaded.max_rows != max_rows:
                self._versions.records[key] = replace(
                    record, loaded=replace(record.loaded, max_rows=max_rows)
                )
                self._versions.publish()

    async def unload_version(self, model: str, version: str) -> None:
        """Take a version out of service.

        Raises:
            CallError: there is no such version, an alias, the split or the shadow names it, or the
                change cannot be kept.
        """
        key = Key(model, version)
        # Both locks, so that no change of routing names the version after the check.
        async with self._versions.lock(key), self._versions.state_lock:
            if key not in self._versions.records:
                raise self._unknown(key)
            if version in self.state(model).routing.versions():
                raise VersionInUseError(
                    f"an alias, the split or the shadow of model {clip(model)!r} names version"
                    f" {clip(version)!r}; change that first",
                    **key._asdict(),
                )
            await self._set_explicit(key, wanted=False)
            self._versions.ensure_unloaded(key)

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Make an alias stand for a version.

        Raises:
            CallError: the version does not serve, the alias is not a valid name, or the model has too
                many aliases.
        """
        check_alias(alias)

        def change(routing: Routing) -> Routing:
            self._serving(model, version)
            return with_alias(routing, alias, version)

        await self._change_routing(model, change)

    async def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias.

        Raises:
            CallError: the model has no such alias.
        """
        await self._change_routing(model, lambda routing: without_alias(routing, alias, model))

    async def set_split(self, model: str, weights: list[tuple[str, int]]) -> None:
        """Share the calls that name no version among versions, by weight.

        An empty split follows the highest release.

        Raises:
            CallError: a version does not serve, their schemas differ, or a weight is out of range.
        """
        check_split(weights)

        def change(routing: Routing) -> Routing:
            answering = [self._serving(model, version) for version, _ in weights]
            copied_to = (
                self._versions.records.get(Key(model, routing.shadow.version)) if routing.shadow else None
            )
            if answering and copied_to is not None and copied_to.loaded is not None:
                answering.append(copied_to.loaded)
            check_one_schema(model, answering)
            return replace(routing, split=tuple(weights))

        await self._change_routing(model, change)

    async def set_shadow(self, model: str, shadow: Shadow | None) -> None:
        """Send copies of the calls that name no version to one more version.

        Args:
            model: the model's name.
            shadow: the version and the share of the calls; None copies no calls.

        Raises:
            CallError: the version does not serve, answers these calls itself, or takes other rows, or
                the share is out of range.
        """
        if shadow is not None:
            check_share(shadow.share)

        def change(routing: Routing) -> Routing:
            if shadow is not None:
                version = self._serving(model, shadow.version)
                answering = [target.version for target in self.snapshot.route(model, "").targets]
                if answering == [version]:
                    raise invalid_field("shadow.version", "it answers these calls itself; name another")
                check_one_schema(model, [*answering, version])
            return replace(routing, shadow=shadow)

        await self._change_routing(model, change)

    async def roll_back(self, model: str) -> None:
        """Bring back the routing that was before the last change, and load the versions that it needs.

        Raises:
            CallError: the model has no history, or a version that the routing needs cannot serve.
        """
        self._check_model(model)
        while True:
            state = self.state(model)
            if not state.history:
                raise NothingToRollBackError(
                    f"model {clip(model)!r} has no earlier routing to roll back to", model=model
                )
            before = state.history[-1]
            async with AsyncExitStack() as held:
                # Held to the end, so that the versions loaded here stay until the routing names them.
                for key in (Key(model, version) for version in sorted(before.versions())):
                    await held.enter_async_context(self._versions.lock(key))
                    if key in self._versions.folders and not self._versions.records.serves(key):
                        await self._versions.ensure_loaded(key, retry_refused=True)
                await held.enter_async_context(self._versions.state_lock)
                # Another task may have changed the state while a version was loaded.
                if self.state(model) is not state:
                    continue
                for key in (Key(model, version) for version in sorted(needed(before, state.routing))):
                    if not self._versions.records.serves(key):
                        raise VersionNotServingError(
                            f"the routing before needs a version that cannot serve:"
                            f" {self._versions.records.describe(key)}; bring the version back, or set a split"
                            " or an alias that leads to another",
                            **key._asdict(),
                        )
                await self._put_in_force(model, replace(state, routing=before, history=state.history[:-1]))
                return

    async def _change_routing(self, model: str, change: Callable[[Routing], Routing]) -> None:
        async with self._versions.state_lock:
            self._check_model(model)
            state = self.state(model)
            routing = change(state.routing)
            if routing == state.routing:
                return
            default = self.snapshot.models[model].default_version
            if routing.split and not state.routing.split and default:
                # A rollback to "the highest release" brings back the release that is the highest now.
                state = state.pinned(default)
            await self._put_in_force(model, state.changed(routing))

    async def _put_in_force(self, model: str, state: ModelState) -> None:
        """Keep a state and publish it; a state that cannot be published is taken back."""
        before = self.state(model)
        await self._versions.keep(model, state)
        try:
            self._versions.publish()
        except Exception:
            await self._versions.keep(model, before)
            raise

    async def _set_explicit(self, key: Key, *, wanted: bool) -> None:
        """Record that an operator wants a version or not, where the policy says otherwise.

        The caller holds `state_lock`.
        """
        state = self.state(key.model)
        explicit = {version: flag for version, flag in state.explicit.items() if version != key.version}
        if (key in self._versions.selected) != wanted:
            explicit[key.version] = wanted
        if explicit != state.explicit:
            await self._versions.keep(key.model, replace(state, explicit=explicit))

    def _check_model(self, model: str) -> None:
        if not model:
            raise missing_model()
        if model not in self.snapshot.models:
            raise model_not_found(model)

    def _serving(self, model: str, version: str) -> LoadedVersion:
        key = Key(model, version)
        record = self._versions.records.get(key)
        if record is None:
            raise self._unknown(key)
        if record.loaded is None:
            raise VersionNotServingError(
                f"{self._versions.records.describe(key)}; load it first", **key._asdict()
            )
        return record.loaded

    def _unknown(self, key: Key) -> Exception:
        self._check_model(key.model)
        return VersionNotFoundError(
            f"model {clip(key.model)!r} has no version {clip(key.version)!r}; ListModels names them all",
            **key._asdict(),
        )
