"""The native engine's extension, made of src/python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

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
# Path, metadata as received, the peer's address and certificate (DER), seconds until the deadline.
Context: TypeAlias = tuple[str, list[tuple[bytes, bytes]], tuple[str, bytes | None], float | None]
Event: TypeAlias = (
    tuple[Literal["open"], int, Context]
    | tuple[Literal["ask"], int, Question]
    | tuple[Literal["fault"], int, tuple[str, str]]
    | tuple[Literal["message"], int, bytes]
    | tuple[Literal["end", "gone"], int, tuple[()]]
)

class Vocabulary(TypedDict):
    text: int  # its position in a row
    fold: bool
    texts: Sequence[str]

class Column(TypedDict):
    kind: Literal["number", "coded", "text"]
    position: int  # of a number or a text in a row; of a vocabulary where the column is coded
    values: Sequence[float]  # of a coded column: the value of each text, that of unknown ones last
    fold: bool

class Tokens(TypedDict):
    word: bool  # whether word characters are characters of tokens
    space: bool  # whether white space is
    ranges: Sequence[tuple[int, int]]  # of further characters
    excluded: bool  # whether characters of tokens are all but those above
    shortest: int
    whole_words: bool
    stop_words: Sequence[str]

class Bag(TypedDict):
    text: int  # its position in a row
    fold: bool
    unicode: str
    lowercase: bool
    accents: Literal["kept", "stripped", "ascii"]
    analyzer: Literal["words", "characters", "characters_of_words"]
    tokens: Tokens
    sizes: tuple[int, int]  # least and largest number of tokens or characters of a term
    terms: Sequence[str]
    hashing: tuple[int, bool] | None  # number of places, and whether counts have signs

class Input(TypedDict):
    name: str
    element: int  # ONNX's number of the type
    columns: Sequence[Column]
    dims: Sequence[int]  # the shape of a row
    entries: tuple[int, Literal["row", "place", "count"]] | None  # the bag, and which part of its counts

class Output(TypedDict):
    name: str
    width: int
    texts: bool

class NumberCheck(TypedDict):
    position: int
    low: float
    high: float
    whole: bool

class TextCheck(TypedDict):
    position: int
    vocabularies: Sequence[int]  # which must know the text

class Check(TypedDict):
    number: NumberCheck | None  # one of these two
    text: TextCheck | None
    missing_allowed: bool
    refusals: Sequence[bytes]  # in the order of ROW_REASONS; empty for what is never refused
    typed_refusals: Sequence[bytes]  # the same, as the error of a typed prediction

class TypedField(TypedDict):
    number: int  # of the field in a row
    text: bool
    position: int  # among the numbers or the texts of a row

class TypedOutput(TypedDict):
    output: int  # its index
    number: int  # of the field in a prediction
    repeated: bool
    labels: Sequence[str] | None  # the texts of classes

class TensorInput(TypedDict):
    name: str
    texts: bool
    dims: Sequence[int]  # the shape of a row
    optional: bool
    start: int  # the position of the first value in a row

class TensorOutput(TypedDict):
    name: str
    datatype: str
    dims: Sequence[int]  # the shape of a row

class VersionParts(TypedDict):
    graph: Graph
    model: str
    version: str
    major: int
    fingerprint: str
    row_ns: float
    max_rows: int | None
    number_count: int
    text_count: int
    vocabularies: Sequence[Vocabulary]
    bags: Sequence[Bag]
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    score_output: int | None
    row_by_row: bool
    max_shared_rows: int
    checks: Sequence[Check]
    typed_fields: Sequence[TypedField]
    typed_outputs: Sequence[TypedOutput]
    tensor_inputs: Sequence[TensorInput]
    tensor_outputs: Sequence[TensorOutput]

class EngineParts(TypedDict):
    max_rows: int
    max_in_flight: int
    max_message_bytes: int
    max_run_seconds: float
    max_buffered_bytes: int
    threads: int
    bounds_ns: Sequence[int]

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
    def __new__(cls, parts: EngineParts, fixed: Mapping[str, Failure]) -> Engine: ...
    def use_certificate(self, chain: bytes, key: bytes) -> None: ...
    def start(
        self,
        listen: str,
        batch_threads: int,
        processors: Sequence[int],
        limits: Mapping[str, float],
        control: set[str],
    ) -> int: ...
    def version(self, parts: VersionParts) -> Version: ...
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
