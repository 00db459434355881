"""Rules of names, versions and schemas.

A version follows semver.org 2.0.0. Versions are ordered as it says, and build
metadata breaks ties by text so that the order is total. Its three numbers are
below 2^63, so that engines and clients in every language can hold them.
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
    """A model name or a version breaks the rules; the message says which."""


@total_ordering
class Version:
    """A semantic version, ordered.

    Raises:
        InvalidNameError: the text is no semantic version.
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
        """The first number: clients of one major need not change."""
        return self._key[0]

    @property
    def is_prerelease(self) -> bool:
        """Whether it carries a pre-release tag."""
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
    """The name itself.

    Args:
        name: of a model, or of something else that has such names.
        what: that is, for the message.

    Raises:
        InvalidNameError: it is not 1 to 63 of a-z, 0-9, _ and -, a letter first.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidNameError(
            f"{what} {name!r} must be 1 to 63 of a-z, 0-9, '_' and '-', and begin with a letter"
        )
    return name


def fingerprint(schema: schema_pb2.Schema) -> str:
    """16 hex digits over what a caller must know to send rows and read answers.

    Names, kinds and order of the features; names, kinds, widths and class
    labels of the outputs. Ranges and vocabularies do not count: a model trained
    anew on new data keeps its fingerprint.
    """
    interface = [
        [[feature.name, feature.kind] for feature in schema.features],
        [[output.name, output.kind, output.width, list(output.class_labels)] for output in schema.outputs],
    ]
    text = json.dumps(interface, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
