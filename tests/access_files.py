"""Access files for tests: principals with rights, limits and keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scorewire_server.access.editing import add_key
from scorewire_server.engine.access import Right


def new_key(access: Path, name: str, *, limits: Mapping[str, float] | None = None, **rights: str) -> str:
    """A new key of a principal of an access file, which is made if need be.

    Args:
        access: the file.
        name: the principal; a new one if there are rights.
        limits: entries of the principal, such as `calls_per_second`.
        rights: patterns of models by right, separated by spaces.
    """
    patterns = {Right(right): models.split() for right, models in rights.items()}
    key = add_key(access, name, patterns, None)
    if limits:
        entries = "".join(f"{entry} = {value}\n" for entry, value in limits.items())
        head = f"[principals.{name}]\n"
        access.write_text(access.read_text().replace(head, head + entries))
    return key.text
