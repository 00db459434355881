"""Names of tables, views and columns.

PostgreSQL cuts identifiers to 63 bytes, so that two long names may become one. A name that does
not fit is cut here, and ends in a digest of the whole name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAX_BYTES = 63
# The tables and views of the schema; a model of such a name has a view of another name.
RESERVED = frozenset(
    [
        "format",
        "models",
        "tables",
        "sources",
        "partitions",
        "starts",
        "writers",
        "stored",
        "losses",
        "gaps",
        "ledger",
    ]
)
_VIEW_SUFFIX = "_records"
_DIGEST_DIGITS = 8


def identifier(name: str, max_bytes: int = MAX_BYTES) -> str:
    """The name, or its beginning and a digest if it has more than `max_bytes` in UTF-8, or a NUL."""
    if len(name.encode()) <= max_bytes and "\0" not in name:
        return name
    return _cut(name, max_bytes)


def identifiers(names: Iterable[str]) -> list[str]:
    """The identifier of each name; different names have different ones."""
    found: dict[str, str] = {}
    for name in names:
        short = identifier(name)
        # A short name may look like another one that was cut.
        attempt = name
        while short in found and found[short] != name:
            attempt += "\0"
            short = _cut(attempt, MAX_BYTES)
        found[short] = name
    return list(found)


def view_name(model: str) -> str:
    """The name of a model's view: the model's, unless a table of ours has it."""
    is_ours = model in RESERVED or model.endswith(_VIEW_SUFFIX)
    return identifier(model + _VIEW_SUFFIX if is_ours else model)


def table_name(model: str, columns: str) -> str:
    """The name of the table for a model's rows of one form.

    No model's name begins with "_", so that no view has this name; partitions add 9 characters.
    """
    digest = hashlib.sha256(f"{model}\n{columns}".encode()).hexdigest()[:10]
    return f"_{identifier(model, 42)}_{digest}"


def _cut(name: str, max_bytes: int) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]
    begin = name.replace("\0", "").encode()[: max_bytes - _DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{begin}_{digest}"
