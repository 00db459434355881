"""Removes files that killed processes left half-written; their names end in a process id."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def remove_stale_files(folder: Path, prefix: str, *, including_running: bool = True) -> None:
    """Remove the files in a folder whose names are `prefix` and a process id.

    Args:
        folder: the folder; it need not exist.
        prefix: the part of the name before the process id.
        including_running: whether to remove the files of running processes, too. Right only for a caller
            who knows that no other process writes such files.
    """
    # A file that cannot be removed does no harm.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            number = entry.name.removeprefix(prefix)
            if not entry.name.startswith(prefix) or not (number.isascii() and number.isdigit()):
                continue
            if entry.is_file(follow_symlinks=False) and (including_running or not _runs(int(number))):
                Path(entry.path).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
