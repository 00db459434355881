"""The bodies of blocks that are JSON: the start of a segment, and a source of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from scorewire_contract.records.blocks import FORMAT, BlockError, fingerprint_number, padded

# What reading JSON of another form raises.
_WRONG = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The first block of each segment.

    Attributes:
        start: the UUID of the start.
        segment: the number of the segment.
        created: when the segment was begun, like 2026-11-29T17:21:00.000000Z.
        server: the version of the server.
        engine: native or reference.
        writers: how many writers the start has.
    """

    start: UUID
    segment: int
    created: str
    server: str
    engine: str
    writers: int

    def encode(self) -> bytes:
        """The body of the block."""
        return _encode({"format": FORMAT, **asdict(self), "start": str(self.start)})

    @classmethod
    def decode(cls, body: bytes) -> Start:
        """Read the body of the block.

        Raises:
            BlockError: the body is no description of a start.
        """
        found = _decode(body)
        try:
            return cls(
                start=UUID(found["start"]),
                segment=int(found["segment"]),
                created=str(found["created"]),
                server=str(found["server"]),
                engine=str(found["engine"]),
                writers=int(found["writers"]),
            )
        except _WRONG as error:
            raise BlockError(f"no description of a start: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output of a source.

    Attributes:
        name: the output's name.
        width: values per row.
        kind: number, probability, class or text.
        labels: the label of each class, if there are any.
    """

    name: str
    width: int
    kind: str
    labels: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return self.kind == "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows came from: a version on a route, under a policy.

    Attributes:
        source: the number of the source.
        model: the model's name.
        version: the version's name.
        fingerprint: the fingerprint of the schema.
        route: the name that callers gave: "", an alias or a version.
        kind: default, split, alias, version or shadow.
        share: the sampled share.
        features: all features of the schema, in its order.
        numbers: the features that are columns of numbers, in their order.
        texts: the features that are columns of texts, in their order.
        hashed: the features whose texts are keyed hashes.
        dropped: the features that are not recorded.
        routing_key: keep, drop or hash.
        caller: keep, drop or hash.
        principal: keep, drop or hash. A source of format 1 drops principals.
        retention_days: how long records are kept; None for good.
        outputs: the outputs, in their order.
        score_output: the index of the output whose last column is the score; None if there is no such output.
    """

    source: int
    model: str
    version: str
    fingerprint: str
    route: str
    kind: str
    share: float
    features: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    hashed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    routing_key: str = "keep"
    caller: str = "keep"
    principal: str = "keep"
    retention_days: int | None = None
    outputs: tuple[Output, ...]
    score_output: int | None = None

    @property
    def is_shadow(self) -> bool:
        """Whether the rows are copies, scored by a shadow."""
        return self.kind == "shadow"

    @property
    def fingerprint_number(self) -> int:
        """The fingerprint as headers have it."""
        return fingerprint_number(self.fingerprint)

    def encode(self) -> bytes:
        """The body of the block."""
        return _encode(asdict(self))

    @classmethod
    def decode(cls, body: bytes) -> Source:
        """Read the body of the block.

        Raises:
            BlockError: the body is no description of a source.
        """
        found = _decode(body)
        try:
            days, score = found["retention_days"], found["score_output"]
            source = cls(
                source=int(found["source"]),
                model=str(found["model"]),
                version=str(found["version"]),
                fingerprint=str(found["fingerprint"]),
                route=str(found["route"]),
                kind=str(found["kind"]),
                share=float(found["share"]),
                features=_texts(found["features"]),
                numbers=_texts(found["numbers"]),
                texts=_texts(found["texts"]),
                hashed=_texts(found["hashed"]),
                dropped=_texts(found["dropped"]),
                routing_key=str(found["routing_key"]),
                caller=str(found["caller"]),
                principal=str(found.get("principal", "drop")),
                retention_days=None if days is None else int(days),
                outputs=tuple(_output(each) for each in found["outputs"]),
                score_output=None if score is None else int(score),
            )
            source._check()
        except _WRONG as error:
            raise BlockError(f"no description of a source: {error!r}") from error
        return source

    def _check(self) -> None:
        """Check what readers of the rows rely on.

        Raises:
            ValueError: a value cannot be.
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share is {self.share}")
        if any(output.width < 1 for output in self.outputs):
            raise ValueError("an output has no values")
        if self.score_output is not None and not 0 <= self.score_output < len(self.outputs):
            raise ValueError(f"there is no output {self.score_output}")
        if self.fingerprint_number < 0:
            raise ValueError(f"the fingerprint is {self.fingerprint}")


def _output(found: Mapping[str, Any]) -> Output:
    labels = _texts(found.get("labels", []))
    return Output(name=str(found["name"]), width=int(found["width"]), kind=str(found["kind"]), labels=labels)


def _texts(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError(f"{found!r} is no list of texts")
    return tuple(found)


def _encode(value: Mapping[str, Any]) -> bytes:
    return padded(json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), b" ")


def _decode(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (RecursionError, ValueError) as error:
        raise BlockError(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BlockError("no JSON object")
    return found
