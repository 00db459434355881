"""Becomes the process of a job: `python -m scorewire_gateway.jobs.child PARENT NICENESS MEMORY FILE COMMAND`.

It sets its limits and then executes the command. The gateway cannot set them between
fork and exec, where only code that is safe beside its threads may run.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# The first process that the kernel kills when the machine runs out of memory.
_OOM_SCORE = 1000


def main(arguments: list[str]) -> None:
    """Set the limits, and execute the command."""
    parent, niceness, memory_bytes, file_bytes = map(int, arguments[:4])
    # However the gateway ends, this process ends with it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the gateway has ended")
    os.nice(niceness)
    # A container may forbid it.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")
    for limit, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (bound, bound))
    os.umask(0o077)
    os.execv(arguments[4], arguments[4:])  # noqa: S606 - the command is the gateway's own


if __name__ == "__main__":
    main(sys.argv[1:])
