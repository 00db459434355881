"""Files that survive a crash of the machine: whole or absent, and known to be on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they stay."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def write(path: Path, data: bytes) -> None:
    """Put a file in place, or leave what was there before."""
    temporary = temporary_of(path)
    temporary.write_bytes(data)
    publish({temporary: path})


def write_json(path: Path, value: Mapping[str, Any], *, lasting: bool = True) -> None:
    """Put a JSON object in place, or leave what was there before.

    Args:
        path: the file.
        value: the object.
        lasting: whether it is on the disk once this returns.
    """
    data = f"{json.dumps(value, indent=1)}\n".encode()
    if lasting:
        write(path, data)
        return
    temporary = temporary_of(path)
    temporary.write_bytes(data)
    temporary.replace(path)


def temporary_of(path: Path) -> Path:
    """The name of a file until it is whole: hidden, and the same each time."""
    return path.with_name(f".{path.name}.tmp")


def publish(files: Mapping[Path, Path]) -> None:
    """Rename whole files to their names; once this returns, they are on the disk."""
    for temporary in files:
        sync(temporary)
    for temporary, path in files.items():
        temporary.replace(path)
    sync_folders(files.values())


def remove(paths: Iterable[Path]) -> None:
    """Remove files, if they are there; once this returns, they do not come back."""
    paths = list(paths)
    for path in paths:
        path.unlink(missing_ok=True)
    sync_folders(paths)


def sync_folders(paths: Iterable[Path]) -> None:
    """Bring the names of files to the disk."""
    for folder in sorted({path.parent for path in paths}):
        sync(folder)


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
