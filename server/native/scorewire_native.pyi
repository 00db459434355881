"""The extension module of the native engine; its source is src/python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.tree_terms import TreeTerm
from scorewire_server.engine.recording import Treatment
from scorewire_server.engine.snapshot import Snapshot

__version__: str
# The names of methods and of row errors, in the order in which they are counted.
METHODS: tuple[str, ...]
ROW_REASONS: tuple[str, ...]

# The gRPC code, the number of the reason, the message, and the bytes of google.rpc.Status.
Failure: TypeAlias = tuple[int, int, str, bytes]
# The model, the major version whose typed service was called, the version as the caller names it, and the
# version that was to answer ("": no version was found).
Names: TypeAlias = tuple[str, int | None, str, str]
# Whether the request does not parse, the RowError of the only row (bytes), and the length of a response that
# is too long, else 0.
Problem: TypeAlias = tuple[bool, bytes | None, int]
# The snapshot, the method, the names, the schema fingerprint and the output that is to be explained (None:
# nothing is), the numbers of rows, numbers and texts, and the problem.
Question: TypeAlias = tuple[Snapshot, str, Names, tuple[str, str | None], tuple[int, int, int], Problem]
# The trace, the span, the parent ("" for the first of a trace), whether the parent is the caller's, and the
# tracestate.
SpanContext: TypeAlias = tuple[bytes, bytes, bytes, bool, str]
# The other end of a connection: its address, and its certificate (DER).
Peer: TypeAlias = tuple[str, bytes | None]
# The path, the metadata, the peer, the nanoseconds since the call arrived,
# and the seconds until the deadline. The metadata is one block: for each entry the lengths of its name and
# its value, four bytes each, little-endian, and then the name and the value. A prediction that is traced has
# its span. The last is the name of who calls, if the engine found that out.
Context: TypeAlias = tuple[str, bytes, Peer, int, float | None, SpanContext | None, str | None]
# A credential that has to be verified: its kind, the token or the certificate (DER), and the peer.
Verification: TypeAlias = tuple[Literal["token", "certificate"], bytes, Peer]
# A call that was refused before Python heard of it: the path, the peer, the name of who calls if that is
# known, the failure, and how many more there were behind it.
RefusalFailure: TypeAlias = Literal["unauthenticated", "too_many_in_flight", "caller_limit"]
Refusal: TypeAlias = tuple[str, Peer, str | None, RefusalFailure, int]
Event: TypeAlias = (
    tuple[Literal["open"], int, Context]
    | tuple[Literal["ask"], int, Question]
    | tuple[Literal["verify"], int, Verification]
    | tuple[Literal["refused"], int, Refusal]
    | tuple[Literal["fault"], int, tuple[str, str]]
    | tuple[Literal["message"], int, bytes]
    | tuple[Literal["end", "gone"], int, tuple[()]]
)

class Vocabulary(TypedDict):
    text: int  # the position of the text in a row
    fold: bool
    texts: Sequence[str]

class Column(TypedDict):
    kind: Literal["number", "coded", "text"]
    position: int  # of the number or the text in a row; of the vocabulary for a coded column
    values: Sequence[float]  # of a coded column: the value of each text, and last that of unknown texts
    fold: bool

class Tokens(TypedDict):
    word: bool  # whether tokens consist of word characters
    space: bool  # whether tokens consist of white space
    ranges: Sequence[tuple[int, int]]  # further characters of tokens: the first and last code points
    excluded: bool  # whether tokens consist of all characters but those above
    shortest: int  # the number of characters of the shortest token
    whole_words: bool  # whether a token must not touch another word character
    stop_words: Sequence[str]

class Bag(TypedDict):
    text: int  # the position of the text in a row
    fold: bool
    unicode: str  # the version of Unicode
    lowercase: bool
    accents: Literal["kept", "stripped", "ascii"]
    analyzer: Literal["words", "characters", "characters_of_words"]
    tokens: Tokens
    sizes: tuple[int, int]  # the number of tokens or characters of the shortest and of the longest n-gram
    terms: Sequence[str]  # the vocabulary
    hashing: tuple[int, bool] | None  # instead of terms: the number of indices, whether counts have signs

class Input(TypedDict):
    name: str
    element: int  # the element type's number in ONNX
    columns: Sequence[Column]
    dims: Sequence[int]  # the shape of a row
    entries: tuple[int, Literal["row", "place", "count"]] | None  # a bag, and which part of its entries

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
    vocabularies: Sequence[int]  # the vocabularies that must have the text

class Check(TypedDict):
    # Exactly one of `number` and `text` is given.
    number: NumberCheck | None
    text: TextCheck | None
    missing_allowed: bool
    refusals: Sequence[bytes]  # the RowError of each reason, in the order of ROW_REASONS; b"": never refused
    typed_refusals: Sequence[bytes]  # the same errors in the form of a typed prediction

class TypedField(TypedDict):
    number: int  # of the field in a row
    text: bool
    position: int  # among the numbers or the texts of a row

class TypedOutput(TypedDict):
    output: int  # the index of the output
    number: int  # of the field in a prediction
    repeated: bool
    labels: Sequence[str] | None  # the names of the classes

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

class ExplainerParts(TypedDict):
    output: str
    link: str
    labels: Sequence[str]  # for an output of classes, the class of each margin
    graph: Graph
    trees: Contributions
    tree_inputs: Sequence[tuple[str, int]]  # the outputs of the graph that the trees read, and their widths
    linear: Sequence[tuple[str, Sequence[int]]]  # the outputs that are contributions, and their columns
    constants: Sequence[float]
    base: Sequence[float]
    row_ns: float
    is_joint: bool  # whether rows of different calls may share a run

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
    columns: Sequence[str]  # the names of the features
    explainers: Sequence[ExplainerParts]
    typed_fields: Sequence[TypedField]
    typed_outputs: Sequence[TypedOutput]
    tensor_inputs: Sequence[TensorInput]
    tensor_outputs: Sequence[TensorOutput]

class RecordParts(TypedDict):
    folder: Path
    start: bytes  # of the start's UUID
    server: str
    ring_bytes: int
    segment_bytes: int
    segment_seconds: float
    spool_bytes: int
    free_bytes: int
    row_reasons: Sequence[int]  # the numbers of ROW_REASONS

class SourceParts(TypedDict):
    number: int
    description: bytes
    fingerprint: int
    shadow: bool
    # What becomes of each number and each text of a row.
    numbers: Sequence[Treatment]
    texts: Sequence[Treatment]
    outputs: Sequence[tuple[int, bool]]  # the values of a row, and whether they are texts
    caller: Treatment
    principal: Treatment
    routing_key: Treatment
    hash_key: bytes

class TraceParts(TypedDict):
    share: float
    per_second: int
    waiting: int
    reasons: Sequence[tuple[int, str]]

# So many a second, and so many at once.
Rate: TypeAlias = tuple[float, float]

class AccessParts(TypedDict):
    audited: set[str]
    streams: set[str]  # the control methods that are streams

class PrincipalParts(TypedDict):
    name: str
    predict: tuple[Sequence[str], Sequence[str]]  # names of models, and beginnings of names
    calls: Rate | None
    rows: Rate | None
    in_flight: int | None
    share: float

class TableParts(TypedDict):
    principals: Sequence[PrincipalParts]
    # The SHA-256, the place of the principal, and the seconds until the key ends.
    keys: Sequence[tuple[bytes, int, float | None]]
    failures: Rate  # of one address
    open_paths: set[str]  # need no credential

class ThreadParts(TypedDict):
    batch_threads: int
    processors: Sequence[int]
    spin_us: int

class EngineParts(TypedDict):
    max_rows: int
    max_in_flight: int
    max_message_bytes: int
    max_run_seconds: float
    max_buffered_bytes: int
    threads: int
    bounds_ns: Sequence[int]
    records: RecordParts | None
    traces: TraceParts | None
    access: AccessParts | None

# The full name, the model, the major version, and the name of the route for calls that name no version.
Service: TypeAlias = tuple[str, str, int, str]
# The counts of the buckets, and the sum in nanoseconds.
Sums: TypeAlias = tuple[list[int], int]
# Answered calls, failed calls by the number of the reason, and durations.
CallSums: TypeAlias = tuple[int, list[int], Sums]

def load_runtime(library: Path) -> str: ...

class UnsupportedError(ValueError):
    """Only onnxruntime runs a graph; the message tells why."""

class Graph:
    def __new__(cls, graph: bytes, threads: int) -> Graph: ...
    @staticmethod
    def compile(graph: bytes) -> Graph: ...
    def description(self) -> str: ...
    def run(
        self,
        names: Sequence[str],
        feeds: Sequence[tuple[str, int, Sequence[int], bytes | Sequence[str]]],
        seconds: float | None = None,
    ) -> list[tuple[int, list[int], bytes | list[str]]]: ...

class Contributions:
    def __new__(
        cls, graph: bytes, terms: Sequence[TreeTerm], features: int, margins: int
    ) -> Contributions: ...
    @property
    def base(self) -> list[float]: ...
    @property
    def description(self) -> str: ...
    def run(self, rows: int, inputs: Sequence[NDArray[np.floating]]) -> tuple[bytes, bytes]: ...

class Version:
    def in_use(self) -> bool: ...

# A source of records, which the spool knows as long as this object or a snapshot has it.
class Source: ...

# Of what is recorded: the source, the share, whether the routing key decides, and whether
# predictions with errors and those that are copied to a shadow are always kept.
RecordChoice: TypeAlias = tuple[Source, float, bool, bool, bool]
# The version, its weight, its seed, and what is recorded of it.
Target: TypeAlias = tuple[Version, int, int, RecordChoice | None]
# The model, the name, the targets, and the shadow: version, share and what is recorded of it.
Route: TypeAlias = tuple[str, str, Sequence[Target], tuple[Version, float, RecordChoice | None] | None]
# The source, the flags, the nanoseconds since the message was read, the server's and the model's times in
# microseconds, and of a shadow the writer and the sequence number of the prediction that was copied.
RecordHead: TypeAlias = tuple[Source, int, int, int, int, tuple[int, int] | None]
# The number of rows, the bytes of their numbers, their texts, for each output the bytes of its doubles or its
# texts, and the errors: row, reason, index of the feature.
RecordRows: TypeAlias = tuple[
    int, bytes, Sequence[str], Sequence[bytes | Sequence[str]], Sequence[tuple[int, int, int]]
]
# The caller's address, the name of the principal that called or "", and the routing key.
RecordNames: TypeAlias = tuple[str, str, str]
# Rows: offered, sampled out, dropped by cause, buffered, spooled; and why records are being lost.
RecordSums: TypeAlias = tuple[int, int, Sequence[int], int, int, str]
# The model, the version, the route, and whether the version is a shadow.
RouteKey: TypeAlias = tuple[str, str, str, bool]
# Pairs of the first 16 bits of a double and the count of the numbers that begin with these bits.
Buckets: TypeAlias = list[tuple[int, int]]

class Engine:
    def __new__(cls, parts: EngineParts, fixed: Mapping[str, Failure]) -> Engine: ...
    def use_certificate(
        self, chain: bytes, key: bytes, client_ca: bytes | None, client_crl: bytes | None
    ) -> None: ...
    def start(
        self,
        listen: str,
        threads: ThreadParts,
        limits: Mapping[str, float],
        control: set[str],
    ) -> int: ...
    def version(self, parts: VersionParts) -> Version: ...
    def publish(self, routes: Sequence[Route], services: Sequence[Service], origin: Snapshot) -> None: ...
    def define(self, parts: SourceParts) -> Source: ...
    def python_writers(self) -> tuple[int, int]: ...
    def peek(self, writer: int) -> int: ...
    def record(self, writer: int, head: RecordHead, rows: RecordRows, names: RecordNames) -> None: ...
    def leave_out(self, writer: int, rows: int) -> None: ...
    def record_counts(self) -> RecordSums | None: ...
    def close_records(self) -> None: ...
    def trace_counts(self) -> tuple[int, int, int, int] | None: ...
    def take_traces(self, most: int) -> tuple[bytes, int, int]: ...
    def fileno(self) -> int: ...
    def take_events(self) -> list[Event]: ...
    def want(self, call: int) -> None: ...
    def send(self, call: int, data: bytes) -> None: ...
    def finish(self, call: int, failed: Failure | None = None) -> None: ...
    def answer(self, call: int, words: Failure) -> None: ...
    def use_access(self, parts: TableParts) -> None: ...
    def verified(self, number: int, found: tuple[str, float | None] | None) -> None: ...
    def refused_counts(self) -> list[tuple[str, int]]: ...
    def run(self, task: Callable[[], None]) -> None: ...
    def set_loading(self, on: bool) -> None: ...
    def stop(self, grace_seconds: float) -> None: ...
    def charge_rows(self, name: str, rows: int) -> float | None: ...
    def count_denied(self, name: str) -> None: ...
    # For each principal: its name, its calls and rows, and its refused calls by cause.
    def principal_counts(self) -> list[tuple[str, int, int, list[tuple[str, int]]]]: ...
    def calls(self) -> tuple[int, int, list[CallSums]]: ...
    def transport(self) -> tuple[int, int, list[tuple[str, int]]]: ...
    def version_counts(
        self,
    ) -> list[tuple[str, str, list[CallSums], tuple[int, int], list[int], tuple[Sums, Sums, Sums, Sums]]]: ...
    def route_counts(
        self,
    ) -> list[tuple[RouteKey, int, int, list[int], list[int], int, Buckets, Buckets]]: ...
