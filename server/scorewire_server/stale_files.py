"""Files that processes which were killed have left half-written: their names end in a process's number."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def remove_stale_files(folder: Path, prefix: str, *, of_running: bool = True) -> None:
    """Remove the files in a folder that are named `prefix` and the number of a process.

    Args:
        folder: it need not be there.
        prefix: what comes before the number.
        of_running: those of processes that still run as well, for a caller who knows
            that none of them writes such a file.
    """
    # What cannot be removed does no harm.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            number = entry.name.removeprefix(prefix)
            if not entry.name.startswith(prefix) or not (number.isascii() and number.isdigit()):
                continue
            if entry.is_file(follow_symlinks=False) and (of_running or not _runs(int(number))):
                Path(entry.path).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
