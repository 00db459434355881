"""The native engine's extension, made of src/python.rs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from scorewire_server.engine.snapshot import Snapshot

__version__: str

# Code, reason, message, google.rpc.Status as bytes.
Failure: TypeAlias = tuple[int, int, str, bytes]
# Snapshot, model, version, schema fingerprint, row count, number count, text count, and the bytes
# of an answer that may be too long.
Question: TypeAlias = tuple[Snapshot, str, str, str, int, int, int, int]
Event: TypeAlias = (
    tuple[Literal["open"], int, str]
    | tuple[Literal["ask"], int, Question]
    | tuple[Literal["fault"], int, tuple[str, str]]
    | tuple[Literal["message"], int, bytes]
    | tuple[Literal["end", "gone"], int, tuple[()]]
)
# Text feature, whether it is folded, its texts.
Vocabulary: TypeAlias = tuple[int, bool, Sequence[str]]
# Kind (0 number, 1 coded, 2 text), position, values, whether the text is folded.
Column: TypeAlias = tuple[int, int, Sequence[float], bool]
# Name, ONNX type, columns.
Input: TypeAlias = tuple[str, int, Sequence[Column]]
# Whether it is a text, position, largest magnitude, vocabularies that must know it, whether it may
# be missing, and the refusals of a missing and of a bad value.
Check: TypeAlias = tuple[bool, int, float, Sequence[int], bool, bytes, bytes]
# Counts by bucket, and the sum in nanoseconds.
Sums: TypeAlias = tuple[list[int], int]

def load_runtime(library: Path) -> str: ...

class Graph:
    def __new__(cls, graph: bytes, threads: int) -> Graph: ...
    def run(
        self, names: Sequence[str], feeds: Sequence[tuple[str, int, Sequence[int], bytes | Sequence[str]]]
    ) -> list[tuple[int, list[int], bytes]]: ...

class Version: ...

class Engine:
    def __new__(
        cls,
        max_rows: int,
        max_in_flight: int,
        max_message_bytes: int,
        threads: int,
        bounds_ns: Sequence[int],
        fixed: Sequence[Failure],
    ) -> Engine: ...
    def start(
        self,
        listen: str,
        tls: tuple[bytes, bytes] | None,
        batch_threads: int,
        processors: Sequence[int],
        max_streams: int,
        max_age_seconds: float,
        control: set[str],
    ) -> int: ...
    def version(
        self,
        graph: Graph,
        names: tuple[str, str],
        fingerprint: str,
        row_ns: float,
        counts: tuple[int, int],
        vocabularies: Sequence[Vocabulary],
        inputs: Sequence[Input],
        outputs: Sequence[tuple[str, int]],
        checks: Sequence[Check],
    ) -> Version: ...
    def publish(self, routes: Sequence[tuple[str, str, Version]], origin: Snapshot) -> None: ...
    def fileno(self) -> int: ...
    def take_events(self) -> list[Event]: ...
    def want(self, call: int) -> None: ...
    def send(self, call: int, data: bytes) -> None: ...
    def finish(self, call: int, failed: Failure | None = None) -> None: ...
    def answer(self, call: int, words: Failure) -> None: ...
    def refuse_new_calls(self) -> None: ...
    def refused(self) -> int: ...
    def stop(self, grace_seconds: float) -> None: ...
    def calls(self) -> tuple[int, int, list[int], list[list[int]]]: ...
    def version_counts(self) -> list[tuple[str, str, int, list[int], Sums, Sums, Sums]]: ...
