"""How browsers treat files, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

_UNKNOWN = "application/octet-stream"
_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "gz": "application/gzip",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "log": "text/plain; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "onnx": _UNKNOWN,
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "proto": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "toml": "text/plain; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "yaml": "text/plain; charset=utf-8",
}
# Browsers show these; all else they save.
_SHOWN = frozenset({"html", "json", "log", "md", "png", "proto", "svg", "toml", "txt", "yaml"})
# A report is a page of its own: it has styles and pictures within, and runs nothing.
_SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)


def media_headers(name: str) -> dict[str, str]:
    """The headers that tell a browser what a file is, and what to do with it."""
    suffix = name.rpartition(".")[2].lower()
    disposition = "inline" if suffix in _SHOWN else "attachment"
    plain = "".join(
        each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name
    )
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Type": _TYPES.get(suffix, _UNKNOWN),
        "Content-Disposition": f'{disposition}; filename="{plain}"{exact}',
        "Content-Security-Policy": _SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
    }
