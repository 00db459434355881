"""The console's files as they are served: compressed, and under an address that changes with them.

All files but the page itself are below `assets/<version>/`, where the version is a
digest of all of them. So a browser or a CDN may keep them for good, and modules
import each other by relative paths: there is no build step. The page itself is asked
for anew each time, by its ETag.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX = "index.html"
_VERSION_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One file.

    Attributes:
        content_type: its media type.
        body: its bytes.
        compressed: the same, compressed by gzip.
        digest: of its bytes, for the ETag.
    """

    content_type: str
    body: bytes
    compressed: bytes
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """All files.

    Attributes:
        version: the digest of all assets.
        index: the page.
        assets: the other files by path, like `views/score.js`.
    """

    version: str
    index: Page
    assets: Mapping[str, Page]


def read_console() -> Console:
    """Read the files, which are part of this distribution."""
    bodies = dict(sorted(_files(files("scorewire_gateway.console") / "static")))
    index = bodies.pop(_INDEX)
    assets = {path: _page(path, body) for path, body in bodies.items()}
    digests = "\n".join(f"{path} {page.digest}" for path, page in assets.items())
    version = _digest(digests.encode())
    return Console(
        version=version,
        index=_page(_INDEX, index.replace(b'"assets/', f'"assets/{version}/'.encode())),
        assets=assets,
    )


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            yield prefix + entry.name, entry.read_bytes()


def _page(path: str, body: bytes) -> Page:
    return Page(
        content_type=_TYPES[path.rpartition(".")[2]],
        body=body,
        compressed=gzip.compress(body, mtime=0),
        digest=_digest(body),
    )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_VERSION_DIGITS]
