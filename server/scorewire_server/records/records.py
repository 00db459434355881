"""The control plane of records: what is recorded, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scorewire_contract.records.identity import new_start
from scorewire_contract.records.segments import spool_bytes
from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.start import StartError
from scorewire_server.engine.recording import RecordCounts, RecordOptions, Sources
from scorewire_server.engine.snapshot import Snapshot
from scorewire_server.problem_log import ProblemLog
from scorewire_server.records.ledger import Ledger, ledger_of
from scorewire_server.records.policy import Policy, PolicyError
from scorewire_server.records.policy_file import PolicyFile
from scorewire_server.records.problems import Problems
from scorewire_server.records.shipper import Shipper, shipper_command
from scorewire_server.records.shipper_status import ShipperStatus, read_status
from scorewire_server.records.sources import SourceNumbers, misfits, sources_of
from scorewire_server.settings import Settings

_SECONDS_BETWEEN_LOOKS = 1.0
# A segment is at most this part of the spool, so that the spool has room while segments wait.
_SPOOL_PART = 16
_SEGMENT_BYTES = (1 << 16, 64 << 20)


class Records:
    """The records of one server; to be used from one event loop, but `ledger` from any thread.

    Whatever goes wrong after the start, no call fails and health stays as it is.

    Args:
        settings: the settings, with --records.
        counts: gives the engine's counts.
        publish: publishes the snapshot again, since the policy has changed.

    Raises:
        StartError: the policy cannot be used, a package is missing, or --records is no folder.
    """

    def __init__(
        self, settings: Settings, counts: Callable[[], RecordCounts | None], publish: Callable[[], None]
    ) -> None:
        assert settings.records is not None  # noqa: S101 - as documented
        low, high = _SEGMENT_BYTES
        self.options = RecordOptions(
            folder=settings.records,
            start=new_start(),
            ring_bytes=settings.ring_bytes,
            segment_bytes=min(max(settings.records_spool_bytes // _SPOOL_PART, low), high),
            segment_seconds=settings.records_segment_seconds,
            spool_bytes=settings.records_spool_bytes,
            free_bytes=settings.records_free_bytes,
        )
        self._counts = counts
        self._publish = publish
        self._shipper = Shipper(shipper_command(settings))
        try:
            self._policy_file = PolicyFile(settings.records_policy, settings.models)
        except PolicyError as error:
            raise StartError(f"--records-policy {error}") from None
        # Whether the engine does not have the policy yet.
        self._unpublished = False
        self._snapshot: Snapshot | None = None
        self._numbers = SourceNumbers()
        self._status = ShipperStatus()
        self._told_before = ""
        self._problems = Problems()
        self._problem = ""
        self._log = ProblemLog(
            "predictions are not recorded as they should be", "predictions are recorded again"
        )
        self._following: asyncio.Task[None] | None = None
        # The size of the spool, as it was last seen.
        self.spool_bytes = 0
        self._make_folder()

    @property
    def ledger(self) -> Ledger:
        """What became of every row so far."""
        return ledger_of(self._counts() or RecordCounts(), self._status.rows, self._problem)

    @property
    def shipper_restarts(self) -> int:
        """How many times the shipper was started again."""
        return self._shipper.restarts

    def sources(self, snapshot: Snapshot) -> Sources:
        """What is recorded of each route of a snapshot that is about to be published."""
        self._snapshot = snapshot
        return sources_of(snapshot, self._policy_file.policy, self._numbers)

    def start(self) -> None:
        """Start the shipper, and follow the policy's file and the ledger from now on."""
        # What the shipper of an earlier server told last says nothing of today.
        before = read_status(self.options.folder, self.options.start)
        self._told_before = before.told if before is not None else ""
        self._shipper.start()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Let the shipper make its last pass; to be called when the engine has closed the spool."""
        following, self._following = self._following, None
        if following is None:
            return
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await self._shipper.stop()
        await self._read_status()
        logger().info("records of this start", start=str(self.options.start), **self.ledger.counts())

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                log_fault("records", error)
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def _look(self) -> None:
        """Read the policy and the shipper's status, and find out what is wrong."""
        self._unpublished |= await self._policy_file.look(self._misfit)
        if self._unpublished:
            self._publish()
            self._unpublished = False
        await self._read_status()
        problems = [
            *self._problems.find(self._counts() or RecordCounts(), self._status),
            self._shipper.problem,
            self._policy_file.problem,
            self._misfit(self._policy_file.policy),
        ]
        self._problem = "; ".join(filter(None, problems))
        self._log.note(self._problem, **self.ledger.counts())

    async def _read_status(self) -> None:
        folder = self.options.folder
        status = await asyncio.to_thread(read_status, folder, self.options.start)
        if status is not None and status.told != self._told_before:
            self._status = status
        self.spool_bytes = await asyncio.to_thread(spool_bytes, folder)

    def _misfit(self, policy: Policy) -> str:
        """Which models are not recorded, since the policy does not fit them."""
        return "; ".join(misfits(self._snapshot, policy)) if self._snapshot is not None else ""

    def _make_folder(self) -> None:
        """Make the folder of --records, for this user only.

        A folder that cannot be made is a problem that the engine tells of, as if the disk were full.
        """
        folder = self.options.folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            # A link that leads nowhere may lead somewhere later.
            if isinstance(error, FileExistsError) and folder.exists():
                raise StartError(f"--records {folder} is a file; name a folder") from None
            logger().error("the folder of records cannot be made", folder=str(folder), reason=error.strerror)
