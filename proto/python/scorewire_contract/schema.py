"""The rules for model names, versions and schema fingerprints.

A version follows semver.org 2.0.0, and so does the order of versions. Versions
that differ only in build metadata are ordered by its text, so that the order is
total. The three numbers of a version are below 2^63, so that a 64-bit integer
holds them in every language.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import total_ordering

from scorewire_proto.v1 import schema_pb2

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMANTIC = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_MAX_VERSION_LENGTH = 64
_LARGEST_NUMBER = 2**63 - 1


class InvalidNameError(ValueError):
    """A model name or a version is invalid; the message tells why."""


@total_ordering
class Version:
    """A semantic version; versions compare by semver's order.

    Raises:
        InvalidNameError: the text is not a semantic version.
    """

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        match = _SEMANTIC.fullmatch(text) if len(text) <= _MAX_VERSION_LENGTH else None
        if match is None:
            raise InvalidNameError(f"version {text!r} is not semantic, like 1.4.0 or 2.0.0-rc.1")
        *numbers, prerelease, build = match.groups()
        major, minor, patch = map(int, numbers)
        if max(major, minor, patch) > _LARGEST_NUMBER:
            raise InvalidNameError(f"version {text!r} has a number above {_LARGEST_NUMBER}")
        parts = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in (prerelease.split(".") if prerelease else ())
        )
        self.text = text
        self._key = (major, minor, patch, prerelease is None, parts, build or "")

    @property
    def major(self) -> int:
        """The major version. Versions of one major version work with the same typed clients."""
        return self._key[0]

    @property
    def is_prerelease(self) -> bool:
        """Whether the version has a pre-release tag."""
        return not self._key[3]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Version({self.text!r})"

    def __str__(self) -> str:
        return self.text


def check_model_name(name: str, *, what: str = "model name") -> str:
    """Check a model's name, or another name with the same rules, and return it.

    Args:
        name: the name.
        what: what has the name, for the error message.

    Raises:
        InvalidNameError: the name is not 1 to 63 characters of a-z, 0-9, _ and -, or
            does not begin with a letter.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidNameError(
            f"{what} {name!r} must be 1 to 63 of a-z, 0-9, '_' and '-', and begin with a letter"
        )
    return name


def fingerprint(schema: schema_pb2.Schema) -> str:
    """The fingerprint of a schema: 16 hex digits of a hash over what callers depend on.

    These are the names, kinds and order of the features, and the names, kinds,
    widths and class labels of the outputs. Ranges and vocabularies do not count,
    so that a model keeps its fingerprint when it is trained again on new data.
    """
    interface = [
        [[feature.name, feature.kind] for feature in schema.features],
        [[output.name, output.kind, output.width, list(output.class_labels)] for output in schema.outputs],
    ]
    text = json.dumps(interface, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
