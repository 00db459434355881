"""Records in the form that the extension takes, and its counts in the form that the control plane takes."""

from __future__ import annotations

from time import perf_counter_ns
from uuid import UUID
from weakref import WeakKeyDictionary

import numpy as np

import scorewire_native
from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.ledger import CAUSES
from scorewire_contract.records.source import Source
from scorewire_server.engine.interpreted.recording import Record, RecordLanes
from scorewire_server.engine.native.version import ROW_REASONS
from scorewire_server.engine.recording import RecordCounts, RecordedSource, RecordOptions

_DOUBLE = np.dtype("<f8")


def record_parts(options: RecordOptions) -> scorewire_native.RecordParts:
    """Where and within which bounds the extension records."""
    return {
        "folder": options.folder,
        "start": options.start.bytes,
        "server": scorewire_native.__version__,
        "ring_bytes": options.ring_bytes,
        "segment_bytes": options.segment_bytes,
        "segment_seconds": options.segment_seconds,
        "spool_bytes": options.spool_bytes,
        "free_bytes": options.free_bytes,
        "row_reasons": list(ROW_REASONS),
    }


class NativeSources:
    """The sources of an extension that records. Each lives as long as that of the control plane."""

    def __init__(self, native: scorewire_native.Engine) -> None:
        self._native = native
        self._defined: WeakKeyDictionary[RecordedSource, scorewire_native.Source] = WeakKeyDictionary()

    def of(self, source: RecordedSource) -> scorewire_native.Source:
        """The extension's source, which is defined if it is not there.

        Raises:
            BlockError: the description is not that of a source.
            ValueError: the description or the key is too long.
        """
        defined = self._defined.get(source)
        if defined is None:
            defined = self._defined[source] = self._native.define(source_parts(source))
        return defined

    def choice(self, source: RecordedSource) -> scorewire_native.RecordChoice:
        """Which predictions of a source are recorded.

        Raises:
            BlockError, ValueError: as of `of`.
        """
        return self.of(source), source.share, source.by_key, source.keep_errors, source.keep_shadowed


def source_parts(source: RecordedSource) -> scorewire_native.SourceParts:
    """What the spool says of a source, and what becomes of its values.

    Raises:
        BlockError: the description is not that of a source.
    """
    described = Source.decode(source.description)
    return {
        "number": source.number,
        "description": source.description,
        "fingerprint": described.fingerprint_number,
        "shadow": described.is_shadow,
        "numbers": source.numbers,
        "texts": source.texts,
        "outputs": [(output.width, output.is_text) for output in described.outputs],
        "caller": source.caller,
        "principal": source.principal,
        "routing_key": source.routing_key,
        "hash_key": source.hash_key,
    }


class NativeLane:
    """A `RecordLane` of the extension, for one thread of Python."""

    def __init__(
        self, native: scorewire_native.Engine, sources: NativeSources, start: UUID, writer: int
    ) -> None:
        self._native, self._sources, self._writer = native, sources, writer
        self._name = str(writer_uuid(start, writer))

    def next_id(self) -> str:
        """The prediction_id of the next record."""
        return f"{self._name}-{self._native.peek(self._writer)}"

    def sampled_out(self, rows: int) -> None:
        """Count a prediction that is not kept."""
        self._native.leave_out(self._writer, rows)

    def record(self, record: Record) -> None:
        """Keep a record, or drop and count it; in any case it takes the next sequence number."""
        original = record.original
        errors: list[tuple[int, int, int]] = []
        if record.scores.errors:
            features = Source.decode(record.source.description).features
            places = {name: place for place, name in enumerate(features)}
            errors += ((error.row, error.reason, places[error.feature]) for error in record.scores.errors)
        self._native.record(
            self._writer,
            (
                self._sources.of(record.source),
                record.flags,
                max(0, perf_counter_ns() - record.began_ns),
                record.server_us,
                record.model_us,
                None if original is None else (original.writer, original.sequence),
            ),
            (
                record.row_count,
                record.numbers.astype(_DOUBLE, copy=False).tobytes(),
                record.texts,
                [
                    values.ravel().tolist()
                    if values.dtype == object
                    else values.astype(_DOUBLE, copy=False).tobytes()
                    for values in record.scores.outputs
                ],
                errors,
            ),
            (record.caller, record.principal, record.routing_key),
        )


def record_lanes(native: scorewire_native.Engine, sources: NativeSources, start: UUID) -> RecordLanes:
    """The lanes of an extension that records, for what Python answers."""
    answers, shadows = native.python_writers()
    return RecordLanes(
        NativeLane(native, sources, start, answers), NativeLane(native, sources, start, shadows)
    )


def read_counts(native: scorewire_native.Engine) -> RecordCounts | None:
    """What became of the rows so far; None where the extension does not record."""
    counts = native.record_counts()
    if counts is None:
        return None
    offered, sampled_out, dropped, buffered, spooled, problem = counts
    return RecordCounts(
        offered=offered,
        sampled_out=sampled_out,
        dropped=dict(zip(CAUSES, dropped, strict=True)),
        buffered=buffered,
        spooled=spooled,
        problem=problem,
    )
