"""Follows the certificate's files, and gives the engine each new certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.start import StartError
from scorewire_server.engine.port import Certificate
from scorewire_server.engine.tls import read_certificate
from scorewire_server.settings import Settings

_SECONDS_BETWEEN_LOOKS = 5.0


class Certificates:
    """Follows --tls-cert and --tls-key; to be used from one event loop.

    Files that cannot be used change nothing: the engine keeps the certificate before.

    Attributes:
        shown: the certificate that clients see; None before the first read and without TLS.
        replaced: how many times the certificate was replaced.
        refused: how many times the files changed and could not be used.
    """

    def __init__(self, settings: Settings, use: Callable[[Certificate], None]) -> None:
        self._settings = settings
        self._use = use
        self._failure = ""
        self._reported = ""
        self._asked = asyncio.Event()
        self.shown: Certificate | None = None
        self.replaced = 0
        self.refused = 0

    def look_now(self) -> None:
        """Have `follow` read the files at once and log the result."""
        self._asked.set()

    async def follow(self) -> None:
        """Read the files now and at intervals, forever; without TLS, only answer `look_now`."""
        while True:
            asked = self._asked.is_set()
            self._asked.clear()
            try:
                await self.look(asked=asked)
            except Exception as error:
                log_fault("certificate", error)
            try:
                async with asyncio.timeout(_SECONDS_BETWEEN_LOOKS):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def look(self, *, asked: bool = False) -> None:
        """Read the files, and give the engine their certificate if it has changed.

        Args:
            asked: whether to log the result even if nothing changed.
        """
        log = logger()
        if asked:
            self._failure = self._reported = ""
        try:
            read = await asyncio.to_thread(read_certificate, self._settings)
            if read is None:
                if asked:
                    log.info("there is no certificate to read again: TLS is off")
                return
            changed = read != self.shown
            if changed:
                self._use(read)
        except StartError as error:
            if str(error) != self._failure:
                self._failure = str(error)
                self.refused += 1
                log.error("the certificate is not replaced, the one before stays", reason=self._failure)
            return
        self._failure = ""
        if changed and self.shown is not None:
            self.replaced += 1
            log.info("certificate replaced", not_after=read.not_after.isoformat())
        elif asked:
            log.info("certificate not changed", not_after=read.not_after.isoformat())
        self.shown = read
        self._log_validity(read)

    def _log_validity(self, certificate: Certificate) -> None:
        """Log, once, that a certificate is not valid now."""
        now = datetime.now(UTC)
        begin, end = certificate.not_before, certificate.not_after
        problem = ""
        if now > end:
            problem = "the certificate has expired"
        elif now < begin:
            problem = "the certificate is not valid yet"
        if problem and problem != self._reported:
            logger().error(problem, not_before=begin.isoformat(), not_after=end.isoformat())
        self._reported = problem
