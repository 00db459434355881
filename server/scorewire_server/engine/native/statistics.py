"""Turns the extension's counts into an engine's statistics."""

from __future__ import annotations

from collections.abc import Iterator

import scorewire_native
from scorewire_proto.v1 import errors_pb2
from scorewire_server.engine.encodings.methods import PREDICT
from scorewire_server.engine.native.version import ROW_REASONS
from scorewire_server.engine.statistics import (
    CallKey,
    CallStatistics,
    Distribution,
    Histogram,
    PrincipalStatistics,
    RouteKey,
    RouteStatistics,
    Statistics,
    Transport,
    VersionStatistics,
)
from scorewire_server.errors import TABLE, Code, Reason, code_and_reason

CODES = {reason: code for code, reason in (*TABLE.values(), code_and_reason(RuntimeError()))}


def read_statistics(native: scorewire_native.Engine, interpreted: Statistics) -> Statistics:
    """The statistics of the whole engine.

    Args:
        native: the extension's engine.
        interpreted: the statistics of the calls that were answered in Python.
    """
    in_flight, streams, unrouted = native.calls()
    statistics = Statistics(in_flight, streams, dict(_calls("", "", unrouted)))
    for model, version, calls, (rows, explained_rows), row_errors, sums in native.version_counts():
        statistics.calls |= _calls(model, version, calls)
        decode, explain, run, encode = (_histogram(*each) for each in sums)
        if not any(decode.counts):
            continue
        statistics.versions[model, version] = VersionStatistics(
            rows,
            explained_rows,
            _row_errors(row_errors),
            decode,
            explain,
            run,
            encode,
        )
    for key, answered, rows, failures, row_errors, dropped, latency, scores in native.route_counts():
        route = RouteStatistics(
            answered,
            rows,
            dict(_failures(failures)),
            _row_errors(row_errors),
            Distribution(latency),
            Distribution(scores),
            dropped,
        )
        if answered or dropped or route.failed:
            statistics.routes[RouteKey(*key)] = route
    statistics.add(interpreted)
    buffered_bytes, connections, limits = native.transport()
    statistics.principals = {
        name: PrincipalStatistics(calls, rows, dict(refused))
        for name, calls, rows, refused in native.principal_counts()
    }
    statistics.credentials_refused = dict(native.refused_counts())
    statistics.transport = Transport(buffered_bytes, connections, dict(limits))
    # The extension has counted the calls in flight of both sides.
    statistics.in_flight = in_flight
    return statistics


def _calls(
    model: str, version: str, sums: list[scorewire_native.CallSums]
) -> Iterator[tuple[CallKey, CallStatistics]]:
    """The counts of each method that was called, and of Predict for each version."""
    for method, (answered, failed, durations) in zip(scorewire_native.METHODS, sums, strict=True):
        counted = CallStatistics(answered, dict(_failures(failed)), _histogram(*durations))
        if answered or counted.failed or (version and method == PREDICT):
            yield CallKey(model, version, method), counted


def _failures(counts: list[int]) -> Iterator[tuple[tuple[Code, Reason], int]]:
    """The code and reason of each count that is not 0; the index of a count is the number of its reason."""
    for number, count in enumerate(counts):
        if count:
            reason = errors_pb2.ErrorReason.ValueType(number)
            yield (CODES[reason], reason), count


def _row_errors(counts: list[int]) -> dict[Reason, int]:
    return {reason: count for reason, count in zip(ROW_REASONS, counts, strict=True) if count}


def _histogram(counts: list[int], sum_ns: int) -> Histogram:
    histogram = Histogram()
    histogram.counts[:] = counts
    histogram.sum_ns = sum_ns
    return histogram
