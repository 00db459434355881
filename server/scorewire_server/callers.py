"""Who may call: the access file, put in force for the engine, the control methods and the page of metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256

from scorewire_contract.patterns import Patterns
from scorewire_server.access.access import Access
from scorewire_server.control.needs import CHANGES, open_paths
from scorewire_server.engine.access import AccessOptions, AccessTable, Refused, Right, bearer_token
from scorewire_server.settings import Settings

_NOTHING = Patterns()


class Callers:
    """Follows --access; to be used from one event loop.

    Args:
        settings: the settings, with --access.
        use: gives the engine a new table.

    Attributes:
        access: reads the files.
        table: the table in force.

    Raises:
        StartError: --access, or a file that it needs, cannot be used.
    """

    def __init__(self, settings: Settings, use: Callable[[AccessTable], None]) -> None:
        self._use = use
        self.access = Access(settings, self._replace)
        self.table = self._opened(self.access.table)

    def options(self, refused: Refused) -> AccessOptions:
        """How an engine finds out who calls; `refused` learns of calls that would have changed something."""
        return AccessOptions(table=self.table, verify=self.access.verify, refused=refused, audited=CHANGES)

    def may_scrape(self, authorization: Sequence[str]) -> bool:
        """Whether a request may have the metrics; any thread may ask.

        Args:
            authorization: the values of the request's header of that name.
        """
        return self.access.open.metrics or may_scrape(self.table, authorization)

    def look_now(self) -> None:
        """Have `follow` look at the files at once, and log the result."""
        self.access.look_now()

    async def follow(self) -> None:
        """Look at the files, forever, and put in force what has changed."""
        await self.access.follow()

    def _replace(self, table: AccessTable) -> None:
        self.table = self._opened(table)
        self._use(self.table)

    def _opened(self, table: AccessTable) -> AccessTable:
        """A table with the methods that the access file opens."""
        return replace(table, open_paths=open_paths(self.access.open))


def may_scrape(table: AccessTable, authorization: Sequence[str]) -> bool:
    """Whether a request may have the metrics, which are of all models: by the right to observe them all.

    Of the credentials of the access file, the page of metrics takes API keys only: it has a
    thread of its own, so that it answers while the event loop is busy, and tokens are verified in
    the loop. It has no TLS, so no connection shows a certificate. A key is found by its SHA-256,
    which somebody who guesses keys cannot steer: the time that this takes tells nothing of a key.

    Args:
        table: the table in force.
        authorization: the values of the request's header of that name, as latin-1.
    """
    token = bearer_token([value.encode("latin-1") for value in authorization])
    grant = None if token is None else table.keys.get(sha256(token).digest())
    if grant is None or grant.expired:
        return False
    return grant.principal.rights.get(Right.OBSERVE, _NOTHING).everything
