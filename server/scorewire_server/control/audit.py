"""The record of calls that change something: in the log, and in the file of --audit.

Nothing changes without a line. A call that passed all checks has a line `begun` on the disk before
its change begins. If that line cannot be written, the call is refused, and nothing changes. When the
call has ended, a line `ended` with the same id tells the result; it is on the disk before the caller
gets the answer. If it cannot be written, the change stands, and the caller learns its result all the
same: the first line tells who asked for what, and the log tells the end. A call that is refused before
it can change anything has one line, `refused`.

A caller who may change nothing must not fill the disk: the lines `refused` of one principal, and of
all callers without one, have a limit. A later line tells how many were left out.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from time import monotonic_ns, perf_counter_ns
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2

from scorewire_contract.service.logs import logger
from scorewire_server.control.audit_file import AuditFile
from scorewire_server.engine.access import Principal, Rate
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.interpreted.limits import Gcra
from scorewire_server.engine.peer import Peer
from scorewire_server.errors import CallError, StateNotKeptError, clip, code_and_reason, reason_name
from scorewire_server.problem_log import ProblemLog

# Of the lines `refused` of one principal, and of all callers without one.
LINES_PER_SECOND = 10.0
LINES_AT_ONCE = 100
# Of a larger request, only names and a hash are told.
MAX_REQUEST_BYTES = 4096
# Lines that wait for the disk; beyond that, it counts as one that cannot be written.
MOST_WAITING = 4096
# The time for changes to end whose callers have gone; a part of the time that the server has to stop.
CLOSE_SECONDS = 1.0
_T = TypeVar("_T")


@dataclass(slots=True)
class AuditCounts:
    """What became of the lines for the file.

    Attributes:
        written: lines that are in the file.
        failed: lines that could not be written.
        left_out: lines `refused` beyond the limit.
    """

    written: int = 0
    failed: int = 0
    left_out: int = 0


class Audit:
    """Records calls; to be used from one event loop.

    Args:
        file: where the lines go besides the log; None without --audit.

    Attributes:
        counts: what became of the lines for the file.
    """

    def __init__(self, file: AuditFile | None) -> None:
        self._file = file
        # A disk that hangs must hold up neither the event loop nor what else runs in threads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._problems = ProblemLog("the audit file cannot be written", "the audit file is written again")
        self._limit = _LineLimit()
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.counts = AuditCounts()

    async def run(self, context: CallContext, change: Callable[[AuditedCall], Awaitable[_T]]) -> _T:
        """Run a call that may change something, and record it.

        A caller that goes away stops neither the change nor its record. A change that
        stopped halfway would be in the state file and not in force.

        Args:
            context: the call's.
            change: tells the call its request, checks it, has it `begin`, and then makes the change.
        """
        return await asyncio.shield(self._begin(self._run(AuditedCall(self, context), change)))

    def refused(self, path: str, peer: Peer, principal: Principal | None, error: CallError) -> None:
        """Record a call that the engine refused: for its credential, or for a limit of its principal."""
        self._begin(AuditedCall(self, CallContext(path, peer=peer, principal=principal)).end(error))

    async def close(self) -> None:
        """Wait a while for changes to end, then close the file."""
        _, going_on = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS) if self._tasks else ((), ())
        for task in going_on:
            task.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)
        if self._file is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    async def write(self, line: dict[str, Any]) -> None:
        """Write a line to the file, if there is one.

        Raises:
            OSError: the line is not known to be on the disk.
        """
        if self._file is None:
            return
        data = json.dumps(line, separators=(",", ":")).encode()
        self._waiting += 1
        try:
            if self._waiting > MOST_WAITING:
                raise OSError("the disk does not answer")
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.append, data)
        except OSError as error:
            self.counts.failed += 1
            self._problems.note(str(error.strerror or error))
            raise
        finally:
            self._waiting -= 1
        self.counts.written += 1
        self._problems.note("")

    def take_line(self, principal: str | None) -> int | None:
        """Take a line `refused` from the limit of a principal.

        Returns:
            How many lines were left out since its last one; None if this one is to be left out, too.
        """
        left_out = self._limit.take(principal)
        self.counts.left_out += left_out is None
        return left_out

    async def _run(self, call: AuditedCall, change: Callable[[AuditedCall], Awaitable[_T]]) -> _T:
        try:
            answer = await change(call)
        except BaseException as error:
            await call.end(error)
            raise
        await call.end(None)
        return answer

    def _begin(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class AuditedCall:
    """A call that is recorded.

    Attributes:
        request: what it asks for; None until it is known.
    """

    def __init__(self, audit: Audit, context: CallContext) -> None:
        self._audit = audit
        self._context = context
        self._id = ""
        self.request: Message | None = None

    async def begin(self) -> None:
        """Record that the call passed all checks, and is about to change something.

        Raises:
            StateNotKeptError: it cannot be recorded, so it must not change anything.
        """
        identity = secrets.token_hex(8)
        try:
            await self._audit.write(self._line("begun", identity))
        except OSError:
            raise StateNotKeptError(
                "nothing was changed, since the audit file cannot be written; the server's log has the reason"
            ) from None
        self._id = identity

    async def end(self, error: BaseException | None) -> None:
        """Record the result, in the log and in the file. Never raises for a file that cannot be written."""
        begun = bool(self._id)
        left_out = 0 if begun else self._audit.take_line(self._principal)
        if left_out is None:
            return
        line = self._line("ended" if begun else "refused", self._id) | _result(error)
        line["milliseconds"] = (perf_counter_ns() - self._context.received_ns) // 1000 / 1000
        if left_out:
            line["left_out"] = left_out
        logged = {name: value for name, value in line.items() if name not in ("time", "event")}
        logged["arguments"] = json.dumps(line["arguments"])
        if begun:
            logger().info("control call", **logged)
        else:
            logger().warning("control call refused", **logged)
        try:
            await self._audit.write(line)
        except OSError:
            # It was counted and logged, and the caller has to learn what became of the call.
            return

    @property
    def _principal(self) -> str | None:
        return None if self._context.principal is None else self._context.principal.name

    def _line(self, event: str, identity: str) -> dict[str, Any]:
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event,
            "call": identity or None,
            "principal": self._principal,
            "address": self._context.peer.address,
            "method": self._context.method,
            "arguments": None if self.request is None else _arguments(self.request),
        }


class _LineLimit:
    """Limits lines by principal; principals are few, since the access file names them."""

    def __init__(self) -> None:
        self._taken: defaultdict[str | None, Gcra] = defaultdict(Gcra)
        self._left_out: Counter[str | None] = Counter()

    def take(self, principal: str | None) -> int | None:
        """None beyond the limit; else how many lines were left out since the one before."""
        if self._taken[principal].take(Rate(LINES_PER_SECOND, LINES_AT_ONCE), monotonic_ns()):
            self._left_out[principal] += 1
            return None
        return self._left_out.pop(principal, 0)


def _result(error: BaseException | None) -> dict[str, Any]:
    if error is None:
        return {"result": "OK", "reason": None}
    if isinstance(error, asyncio.CancelledError):
        return {"result": code_pb2.Code.Name(code_pb2.CANCELLED), "reason": None}
    code, reason = code_and_reason(error)
    return {"result": code_pb2.Code.Name(code), "reason": reason_name(reason)}


def _arguments(request: Message) -> dict[str, Any]:
    """A request as JSON; of a large one, its short texts, what is left out, its size and its hash."""
    request.DiscardUnknownFields()
    size = request.ByteSize()
    if size <= MAX_REQUEST_BYTES:
        told: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
        return told
    fields = {each.name: value for each, value in request.ListFields()}
    return {
        **{name: clip(value) for name, value in fields.items() if isinstance(value, str)},
        "left_out": [name for name, value in fields.items() if not isinstance(value, str)],
        "bytes": size,
        "sha256": sha256(request.SerializeToString(deterministic=True)).hexdigest(),
    }
