"""Keeps the keys of issuers up to date, from files and from URLs."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from pathlib import Path

from scorewire_contract.service.logs import log_fault, logger
from scorewire_server.access.fetching import FetchError, fetch
from scorewire_server.access.followed import Followed, Source
from scorewire_server.access.issuers import Issuer, KeysUrl
from scorewire_server.access.jwks import MAX_SET_BYTES, VerificationKey, parse_keys
from scorewire_server.access.refusal import RefusedError
from scorewire_server.access.tables import AccessError

# The time between two fetches when all is well; less if keys become stale sooner.
_REFRESH_SECONDS = 300.0
# Tokens with an unknown key that wait for one fetch; further ones are refused at once.
_MOST_WAITING = 64


class KeySet(ABC):
    """The keys of an issuer, as they are kept up to date; to be used from one event loop.

    Attributes:
        issuer: the issuer.
    """

    def __init__(self, issuer: Issuer, lost: Callable[[], None], clock: Callable[[], float]) -> None:
        """Keys of an issuer.

        Args:
            issuer: the issuer.
            lost: is called when a key is valid no more, so that remembered tokens are verified again.
            clock: like `time.monotonic`.
        """
        self.issuer = issuer
        self._lost = lost
        self._clock = clock
        self._stale = False

    @abstractmethod
    def _known(self) -> tuple[Mapping[str, VerificationKey], float]:
        """The keys by their ids, and the time of the clock when their source was last found to have them."""

    async def find(self, key_id: str) -> VerificationKey:
        """The key with an id.

        Raises:
            RefusedError: there is none, or the keys are stale.
        """
        keys, confirmed = self._known()
        if self._clock() - confirmed > self.issuer.max_stale_seconds:
            raise RefusedError("the keys of its issuer could not be read for too long")
        key = keys.get(key_id)
        if key is None:
            raise RefusedError("its issuer has no such key")
        return key

    def tick(self) -> None:
        """Do what it is time for; to be called again and again."""
        keys, confirmed = self._known()
        stale = bool(keys) and self._clock() - confirmed > self.issuer.max_stale_seconds
        if stale and not self._stale:
            logger().error("the keys of an issuer are stale, its tokens are refused", issuer=self.issuer.name)
            self._lost()
        self._stale = stale


class FileKeys(KeySet):
    """Keys of a file; there are none until the file is in order.

    Attributes:
        file: the file.
    """

    def __init__(
        self,
        issuer: Issuer,
        path: Path,
        lost: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(issuer, lost, clock)

        def parse(contents: Sequence[bytes]) -> dict[str, VerificationKey]:
            try:
                return parse_keys(contents[0], issuer)
            except AccessError as error:
                raise AccessError(f"{path}: {error}") from None

        self.file: Followed[dict[str, VerificationKey]] = Followed(
            (Source(path, MAX_SET_BYTES),), parse, {}, clock
        )

    def _known(self) -> tuple[Mapping[str, VerificationKey], float]:
        return self.file.value, self.file.confirmed


class RemoteKeys(KeySet):
    """Keys of a URL.

    They are fetched at intervals, and when a token has an unknown one; at most once in
    `cooldown_seconds` in all.

    Attributes:
        fetched: how many fetches gave keys.
        failed: how many did not.
    """

    def __init__(
        self,
        issuer: Issuer,
        url: KeysUrl,
        lost: Callable[[], None],
        *,
        get: Callable[[KeysUrl, int], Awaitable[bytes]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keys of an issuer.

        Args:
            issuer: the issuer.
            url: where its keys are.
            lost: see `KeySet`.
            get: gets at most so many bytes from a URL; raises `FetchError`.
            clock: see `KeySet`.
        """
        super().__init__(issuer, lost, clock)
        self.fetched = 0
        self.failed = 0
        self._url = url
        self._get = get
        self._keys: dict[str, VerificationKey] = {}
        self._begun = self._confirmed = -inf
        self._problem = ""
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0

    def _known(self) -> tuple[Mapping[str, VerificationKey], float]:
        return self._keys, self._confirmed

    def continue_from(self, before: RemoteKeys) -> None:
        """Take over what another object has fetched, if it has fetched the same keys."""
        ours, theirs = self.issuer, before.issuer
        if (ours.keys, ours.algorithms) == (theirs.keys, theirs.algorithms):
            self._keys, self._begun, self._confirmed = before._keys, before._begun, before._confirmed

    async def find(self, key_id: str) -> VerificationKey:
        """The key with an id, after a fetch if need be; see `KeySet`."""
        try:
            return await super().find(key_id)
        except RefusedError:
            fetching = self._fetch() if self._waiting < _MOST_WAITING else None
            if fetching is None:
                raise
        self._waiting += 1
        try:
            await asyncio.wait((fetching,))
        finally:
            self._waiting -= 1
        return await super().find(key_id)

    def tick(self) -> None:
        """Begin a fetch if it is time for one; see `KeySet`."""
        super().tick()
        interval = self.issuer.cooldown_seconds
        if not self._problem:
            interval = max(interval, min(_REFRESH_SECONDS, self.issuer.max_stale_seconds / 4))
        if self._clock() - self._begun >= interval:
            self._fetch()

    def close(self) -> None:
        """Give up a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()

    def _fetch(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; None within the cooldown."""
        if self._fetching is not None:
            return self._fetching
        if self._clock() - self._begun < self.issuer.cooldown_seconds:
            return None
        self._begun = self._clock()
        self._fetching = asyncio.create_task(self._fetch_once())
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            content = await self._get(self._url, MAX_SET_BYTES)
            # Some milliseconds at most, since the content and the number of keys are bounded.
            keys = parse_keys(content, self.issuer)
        except (FetchError, AccessError) as error:
            self._fail(str(error))
        except Exception as error:
            log_fault("keys of an issuer", error)
            self._fail(type(error).__name__)
        else:
            self._take(keys)
        finally:
            self._fetching = None

    def _fail(self, problem: str) -> None:
        self.failed += 1
        if problem != self._problem:
            logger().error(
                "the keys of an issuer cannot be fetched, those before stay until they are stale",
                issuer=self.issuer.name,
                url=str(self._url),
                reason=problem,
            )
        self._problem = problem

    def _take(self, keys: dict[str, VerificationKey]) -> None:
        self.fetched += 1
        before, self._keys, self._confirmed = self._keys, keys, self._clock()
        if keys != before or self._problem:
            logger().info(
                "keys of an issuer fetched", issuer=self.issuer.name, url=str(self._url), keys=len(keys)
            )
        self._problem = ""
        if any(keys.get(key_id) != key for key_id, key in before.items()):
            self._lost()
