"""The native engine's extension, made of src/python.rs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from scorewire_server.engine.snapshot import Snapshot

__version__: str
# The names of what is counted, in the order of the counts.
METHODS: tuple[str, ...]
ROW_REASONS: tuple[str, ...]

# Code, reason, message, google.rpc.Status as bytes.
Failure: TypeAlias = tuple[int, int, str, bytes]
# Model, the major whose typed service was called, version as named by the caller, and the version
# that was picked or "".
Names: TypeAlias = tuple[str, int | None, str, str]
# Whether the bytes are malformed, the refusal of the only row, and the bytes of an answer that may
# be too long.
Problem: TypeAlias = tuple[bool, bytes | None, int]
# Snapshot, method, names, schema fingerprint, counts of rows, numbers and texts, problem.
Question: TypeAlias = tuple[Snapshot, str, Names, str, tuple[int, int, int], Problem]
Event: TypeAlias = (
    tuple[Literal["open"], int, tuple[str, float | None]]
    | tuple[Literal["ask"], int, Question]
    | tuple[Literal["fault"], int, tuple[str, str]]
    | tuple[Literal["message"], int, bytes]
    | tuple[Literal["end", "gone"], int, tuple[()]]
)
# Text feature, whether it is folded, its texts.
Vocabulary: TypeAlias = tuple[int, bool, Sequence[str]]
# Kind (number, coded or text), position, values, whether the text is folded.
Column: TypeAlias = tuple[str, int, Sequence[float], bool]
# Whether word characters and white space are tokens' characters, ranges of further ones, whether it
# is all others; how many make a token, whether tokens are whole words, stop words.
Tokens: TypeAlias = tuple[bool, bool, Sequence[tuple[int, int]], bool, int, bool, Sequence[str]]
# Position of the text, whether it is folded, version of Unicode, whether capitals become small, what
# becomes of accents, what terms are made of, tokens, sizes of terms, and terms or the number of places
# for their hashes and whether these have signs.
Bag: TypeAlias = tuple[
    int, bool, str, bool, str, str, Tokens, tuple[int, int], Sequence[str], tuple[int, bool] | None
]
# Name, ONNX type, columns, shape of a row; where it has counts of words, the bag and which part.
Input: TypeAlias = tuple[str, int, Sequence[Column], Sequence[int], tuple[int, str] | None]
# A number (position, smallest and largest, whether it must be whole) or a text (position, the
# vocabularies that must know it), whether it may be missing, and the refusals in the order of
# ROW_REASONS.
Check: TypeAlias = tuple[
    tuple[int, float, float, bool] | None, tuple[int, Sequence[int]] | None, bool, Sequence[bytes]
]
# The major; of each feature its field's number, whether it is a text, and its position among those;
# of each output its index, its field's number, whether it is repeated, and its classes' texts; and
# for each check, by reason, the error of a prediction.
Typed: TypeAlias = tuple[
    int,
    Sequence[tuple[int, bool, int]],
    Sequence[tuple[int, int, bool, Sequence[str] | None]],
    Sequence[Sequence[bytes]],
]
# Of each input its name, whether it has texts, the shape of a row, whether it may be left out, and
# its first value's position in a row; of each output its name, datatype and shape of a row.
Tensors: TypeAlias = tuple[
    Sequence[tuple[str, bool, Sequence[int], bool, int]], Sequence[tuple[str, str, Sequence[int]]]
]
# Full name, model, major, and the name of the route of calls that name no version.
Service: TypeAlias = tuple[str, str, int, str]
# Counts by bucket, and the sum in nanoseconds.
Sums: TypeAlias = tuple[list[int], int]

def load_runtime(library: Path) -> str: ...

class Graph:
    def __new__(cls, graph: bytes, threads: int) -> Graph: ...
    def run(
        self,
        names: Sequence[str],
        feeds: Sequence[tuple[str, int, Sequence[int], bytes | Sequence[str]]],
        seconds: float | None = None,
    ) -> list[tuple[int, list[int], bytes | list[str]]]: ...

class Version:
    def in_use(self) -> bool: ...

# Model, name, targets of version, weight and seed, and the shadow's version and share.
Route: TypeAlias = tuple[str, str, Sequence[tuple[Version, int, int]], tuple[Version, float] | None]
# Model, version, route, whether it is a shadow.
RouteKey: TypeAlias = tuple[str, str, str, bool]
# Counts by the first 16 bits of the numbers.
Buckets: TypeAlias = list[tuple[int, int]]

class Engine:
    def __new__(
        cls,
        max_rows: int,
        max_in_flight: int,
        max_message_bytes: int,
        max_run_seconds: float,
        max_buffered_bytes: int,
        threads: int,
        bounds_ns: Sequence[int],
        fixed: Mapping[str, Failure],
    ) -> Engine: ...
    def use_certificate(self, chain: bytes, key: bytes) -> None: ...
    def start(
        self,
        listen: str,
        batch_threads: int,
        processors: Sequence[int],
        limits: Mapping[str, float],
        control: set[str],
    ) -> int: ...
    def version(
        self,
        graph: Graph,
        names: tuple[str, str],
        fingerprint: str,
        row_ns: float,
        max_rows: int | None,
        counts: tuple[int, int],
        vocabularies: Sequence[Vocabulary],
        bags: Sequence[Bag],
        inputs: Sequence[Input],
        outputs: Sequence[tuple[str, int, bool]],
        score_output: int | None,
        row_by_row: bool,
        joint_rows: int,
        checks: Sequence[Check],
        typed: Typed,
        tensors: Tensors,
    ) -> Version: ...
    def publish(self, routes: Sequence[Route], services: Sequence[Service], origin: Snapshot) -> None: ...
    def fileno(self) -> int: ...
    def take_events(self) -> list[Event]: ...
    def want(self, call: int) -> None: ...
    def send(self, call: int, data: bytes) -> None: ...
    def finish(self, call: int, failed: Failure | None = None) -> None: ...
    def answer(self, call: int, words: Failure) -> None: ...
    def run(self, task: Callable[[], None]) -> None: ...
    def set_loading(self, on: bool) -> None: ...
    def stop(self, grace_seconds: float) -> None: ...
    def calls(self) -> tuple[int, int, list[int], list[list[int]]]: ...
    def transport(self) -> tuple[int, int, list[tuple[str, int]]]: ...
    def version_counts(self) -> list[tuple[str, str, int, list[int], Sums, Sums, Sums]]: ...
    def route_counts(
        self,
    ) -> list[tuple[RouteKey, int, int, list[int], list[int], int, Buckets, Buckets]]: ...
