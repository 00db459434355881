"""Follows --access and the files that it needs, and gives the engine each new table."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.start import StartError
from scorewire_server.access.access_file import MAX_FILE_BYTES, NOBODY, AccessFile, Open, parse_access_file
from scorewire_server.access.followed import Followed, Source
from scorewire_server.access.issuers import Issuer, KeysUrl
from scorewire_server.access.key_sets import FileKeys, KeySet, RemoteKeys
from scorewire_server.access.revocations import (
    MAX_AUTHORITIES_BYTES,
    MAX_LISTS_BYTES,
    parse_revocations,
)
from scorewire_server.access.tables import AccessError
from scorewire_server.access.verifier import Rules, Verifier
from scorewire_server.engine.access import AccessTable, Verify
from scorewire_server.engine.revocations import Revocations
from scorewire_server.settings import Settings

# A change is in force after two looks that find it.
_SECONDS_BETWEEN_LOOKS = 0.2
_ACCESS, _REVOCATIONS = "access", "revocation lists"


class Access:
    """Who may call, as of --access; to be used from one event loop.

    Files that cannot be used change nothing: what was in force before stays.

    Attributes:
        replaced: how many times a changed file came into force.
        refused: how many times a file changed and could not be used.

    Raises:
        StartError: --access, or a file that it needs, cannot be used.
    """

    def __init__(self, settings: Settings, use: Callable[[AccessTable], None]) -> None:
        """Read the files.

        Args:
            settings: the settings, with --access.
            use: gives the engine a new table; it is called, too, when tokens or certificates that were
                verified before may be valid no more.
        """
        path = settings.access
        if path is None:
            raise ValueError("these settings have no --access")
        self._use = use
        self._file: Followed[AccessFile] = Followed(
            (Source(path, MAX_FILE_BYTES),), lambda contents: parse_access_file(contents[0], path), NOBODY
        )
        self._revocations = _revocations(settings)
        self._key_sets: dict[str, KeySet] = {}
        self._rules = Rules(file=NOBODY, key_sets=self._key_sets, revocations=Revocations())
        self._verifier = Verifier(lambda: self._rules)
        # Why a file cannot be used, as it was logged; and the revocation lists that were reported as old.
        self._reported: dict[str, str] = {}
        self._reported_lists: set[tuple[str, float]] = set()
        # The fetches for issuers that the file has no more.
        self._fetches: Counter[tuple[str, str]] = Counter()
        self._asked = asyncio.Event()
        # Whether the engine has to be given the table.
        self._due = False
        self.replaced = 0
        self.refused = 0
        self._start()

    @property
    def table(self) -> AccessTable:
        """What engines need."""
        return self._rules.file.table

    @property
    def open(self) -> Open:
        """What callers without a credential may do."""
        return self._rules.file.open

    @property
    def verify(self) -> Verify:
        """Verifies tokens and certificates for engines."""
        return self._verifier.verify

    @property
    def fetches(self) -> Mapping[tuple[str, str], int]:
        """How many times keys were fetched, by the issuer's name and the result: ok or failed."""
        counts = _fetches(self._key_sets.values())
        counts.update(self._fetches)
        return counts

    def look_now(self) -> None:
        """Have `follow` look at the files at once, and log the result."""
        self._asked.set()

    async def follow(self) -> None:
        """Look at the files, and fetch keys, forever."""
        # Not a thread of the loop's own: they may all be busy with bundles.
        thread = ThreadPoolExecutor(1, thread_name_prefix="access")
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked = self._asked.is_set()
                self._asked.clear()
                try:
                    found = await loop.run_in_executor(thread, self._look, asked)
                    self._apply(*found, asked=asked)
                except Exception as error:
                    log_fault("access", error)
                try:
                    async with asyncio.timeout(_SECONDS_BETWEEN_LOOKS):
                        await self._asked.wait()
                except TimeoutError:
                    continue
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
            _close(self._key_sets.values())

    def _start(self) -> None:
        try:
            self._file.start()
        except AccessError as error:
            raise StartError(f"--access {error}") from None
        self._key_sets = self._read_key_sets()
        problems = [keys.file.problem for keys in self._key_sets.values() if isinstance(keys, FileKeys)]
        if any(problems):
            raise StartError(f"--access {next(filter(None, problems))}")
        if self._revocations is not None:
            try:
                self._revocations.start()
            except AccessError as error:
                raise StartError(str(error)) from None
        self._rules = self._read_rules(self._key_sets)
        self._report_old_lists()

    def _followed(self) -> dict[str, Followed[Any]]:
        """All files besides --access, by what they are."""
        files: dict[str, Followed[Any]] = {
            f"keys of {name}": keys.file
            for name, keys in self._key_sets.items()
            if isinstance(keys, FileKeys)
        }
        if self._revocations is not None:
            files[_REVOCATIONS] = self._revocations
        return files

    def _look(self, asked: bool) -> tuple[list[str], dict[str, KeySet]]:
        """Look at all files, in a thread: those that have changed, and the keys of the issuers."""
        changed = set()
        key_sets = self._key_sets
        # A change is used when it is found twice. Whoever asks for a look has finished the file.
        for _ in range(2 if asked else 1):
            changed |= {name for name, file in self._followed().items() if file.look()}
            if self._file.look():
                changed.add(_ACCESS)
                key_sets = self._read_key_sets()
        return sorted(changed), key_sets

    def _apply(self, changed: list[str], key_sets: dict[str, KeySet], *, asked: bool) -> None:
        """Put what a look has found into force."""
        log = logger()
        if asked:
            self._reported = {}
        if changed:
            removed = [keys for name, keys in self._key_sets.items() if key_sets.get(name) is not keys]
            self._fetches.update(_fetches(removed))
            self._key_sets = key_sets
            self._rules = self._read_rules(key_sets)
            self.replaced += len(changed)
            _close(removed)
            self._due = True
        if self._due:
            self._put_in_force()
        for name in changed:
            counts = {"principals": len(self.table.principals), "keys": len(self.table.keys)}
            log.info(f"{name} replaced", **(counts if name == _ACCESS else {}))
        self._report_problems()
        if asked and not changed and not self._reported:
            log.info("access not changed", principals=len(self.table.principals))
        self._report_old_lists()
        for keys in list(self._key_sets.values()):
            keys.tick()

    def _read_key_sets(self) -> dict[str, KeySet]:
        """The keys of the issuers of the file; those of issuers that have not changed go on."""
        key_sets: dict[str, KeySet] = {}
        for name, issuer in self._file.value.issuers.items():
            before = self._key_sets.get(name)
            keys = (
                before
                if before is not None and before.issuer == issuer
                else _keys(issuer, self._put_in_force)
            )
            if isinstance(keys, RemoteKeys) and isinstance(before, RemoteKeys) and keys is not before:
                keys.continue_from(before)
            key_sets[name] = keys
        return key_sets

    def _read_rules(self, key_sets: Mapping[str, KeySet]) -> Rules:
        revocations = Revocations() if self._revocations is None else self._revocations.value
        return Rules(file=self._file.value, key_sets=key_sets, revocations=revocations)

    def _put_in_force(self) -> None:
        """Give the engine the table, so that it also forgets the tokens that it remembers."""
        # If the engine fails to take it, the next look tries again: what was revoked must not stay valid.
        self._due = True
        self._use(self.table)
        self._due = False

    def _report_problems(self) -> None:
        """Log, once, why a file cannot be used."""
        files = {_ACCESS: self._file, **self._followed()}
        problems = {name: file.problem for name, file in files.items() if file.problem}
        for name, problem in problems.items():
            if problem != self._reported.get(name):
                self.refused += 1
                logger().error(f"{name} not replaced, what was before stays", reason=problem)
        self._reported = problems

    def _report_old_lists(self) -> None:
        """Log, once, that a revocation list should have been replaced."""
        now = datetime.now(UTC)
        for each in self._rules.revocations.next_updates:
            if each not in self._reported_lists and now.timestamp() > each[1]:
                self._reported_lists.add(each)
                end = datetime.fromtimestamp(each[1], UTC)
                logger().error(
                    "a revocation list is out of date and still applies",
                    issuer=each[0],
                    next_update=end.isoformat(),
                )


def _revocations(settings: Settings) -> Followed[Revocations] | None:
    authorities, lists = settings.tls_client_ca, settings.tls_client_crl
    if authorities is None or lists is None:
        return None
    sources = (Source(authorities, MAX_AUTHORITIES_BYTES), Source(lists, MAX_LISTS_BYTES))
    return Followed(sources, parse_revocations, Revocations())


def _keys(issuer: Issuer, lost: Callable[[], None]) -> KeySet:
    if isinstance(issuer.keys, KeysUrl):
        return RemoteKeys(issuer, issuer.keys, lost)
    keys = FileKeys(issuer, issuer.keys, lost)
    try:
        keys.file.start()
    except AccessError as error:
        keys.file.problem = str(error)
    return keys


def _close(key_sets: Iterable[KeySet]) -> None:
    for keys in key_sets:
        if isinstance(keys, RemoteKeys):
            keys.close()


def _fetches(key_sets: Iterable[KeySet]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for keys in key_sets:
        if isinstance(keys, RemoteKeys):
            counts[keys.issuer.name, "ok"] += keys.fetched
            counts[keys.issuer.name, "failed"] += keys.failed
    return counts
