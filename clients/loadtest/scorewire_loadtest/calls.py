"""The calls of a run: requests that are serialized once, and checks of their responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scorewire import Schema
from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import golden_tolerance, within_tolerance
from scorewire_loadtest.rows import Table
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, packed_pb2, prediction_pb2, schema_pb2

# If the rows per call do not divide the number of rows, calls wrap around the end of
# the rows, so that every row is sent equally often. These are the most calls that
# are kept in memory, and the most rows in all of them.
MAX_CALLS = 10_000
MAX_ROWS = 1_000_000
_DOUBLE = np.dtype("<f8")


class Expectation(Protocol):
    """The expected response to a call."""

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """What is wrong with a response; "" if it is as expected."""


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """One serialized request, the number of its rows, and its expected response."""

    request: bytes
    row_count: int
    expectation: Expectation


class Shape:
    """Expects the outputs of a schema with the right number of values; the values are unknown."""

    def __init__(self, schema: Schema, row_count: int) -> None:
        self._row_count = row_count
        self._outputs = [(output.name, output.width * row_count) for output in schema.outputs]

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """As in `Expectation`."""
        found = [
            (o.name, sum(map(len, o.numbers)) // _DOUBLE.itemsize + len(o.texts)) for o in response.outputs
        ]
        if response.row_count != self._row_count or found != self._outputs:
            return f"{response.row_count} rows of {found}, expected {self._row_count} of {self._outputs}"
        return ""


class Scores:
    """Expects known scores and known row errors of one version.

    Args:
        model: the model that must answer.
        version: the version that must answer.
        outputs: the expected values of each output, flat and row-major; with dtype
            object for a text output.
        errors: the expected row errors: row, reason and feature.
        tolerances: the tolerance of each numeric output; texts must be equal.
    """

    def __init__(
        self,
        *,
        model: str,
        version: str,
        outputs: list[tuple[str, NDArray[Any]]],
        errors: list[tuple[int, errors_pb2.ErrorReason.ValueType, str]],
        tolerances: Mapping[str, manifest_pb2.Tolerance],
    ) -> None:
        self._source = (model, version)
        self._outputs = outputs
        self._errors = errors
        self._tolerances = tolerances
        # The bytes of the last right response; the same bytes need no comparison of numbers.
        self._right: list[tuple[str, bytes, tuple[str, ...]]] | None = None

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """As in `Expectation`: every value of every output is compared."""
        source = (response.model, response.version)
        if source != self._source:
            return f"answered by {' '.join(source)}, expected {' '.join(self._source)}"
        errors = [(error.row, error.reason, error.feature) for error in response.errors]
        if errors != self._errors:
            return f"rows refused {_shown(errors)}, expected {_shown(self._errors)}"
        outputs = [
            (output.name, b"".join(output.numbers), tuple(output.texts)) for output in response.outputs
        ]
        if outputs == self._right:
            return ""
        problem = self._compare(outputs)
        if not problem:
            self._right = outputs
        return problem

    def _compare(self, outputs: list[tuple[str, bytes, tuple[str, ...]]]) -> str:
        names = [name for name, _, _ in outputs], [name for name, _ in self._outputs]
        if names[0] != names[1]:
            return f"outputs {names[0]}, expected {names[1]}"
        for (name, content, texts), (_, target) in zip(outputs, self._outputs, strict=True):
            is_text = target.dtype == object
            count = len(texts) if is_text else len(content) // _DOUBLE.itemsize
            if count != target.size:
                return f"{name} has {count} values, expected {target.size}"
            if is_text:
                values = np.array(texts, dtype=object)
                bad = np.flatnonzero(values != target)
            else:
                values = np.frombuffer(content, dtype=_DOUBLE, count=count)
                bad = np.flatnonzero(~within_tolerance(values, target, self._tolerances[name]))
            if bad.size:
                place = int(bad[0])
                found, wanted = (array[place : place + 1].tolist()[0] for array in (values, target))
                return f"{name}[{place}] is {found!r}, expected {wanted!r}"
        return ""


def from_bundle(bundle: Bundle, *, rows_per_call: int) -> list[PreparedCall]:
    """Make calls with the golden rows of a bundle, and check every score.

    Raises:
        ValueError: the bundle has no golden rows, or they do not fit its schema.
    """
    golden, schema = bundle.golden, bundle.manifest.schema
    number_count = sum(f.kind == schema_pb2.FEATURE_KIND_NUMBER for f in schema.features)
    try:
        table = Table.of_rows(golden.rows, number_count, len(schema.features) - number_count)
        targets = [
            _values(output, found).reshape(table.row_count, found.width)
            for output, found in zip(golden.expected.outputs, schema.outputs, strict=True)
        ]
    except ValueError as error:
        raise ValueError(f"the golden rows of {bundle.path} do not fit its schema: {error}") from None
    refused = {error.row: error for error in golden.expected.errors}
    tolerances = {output.name: golden_tolerance(bundle.golden, output) for output in schema.outputs}
    calls = []
    for chosen in _turns(table.row_count, rows_per_call):
        expectation = Scores(
            model=bundle.model,
            version=bundle.manifest.version,
            outputs=[
                (output.name, target[chosen].ravel())
                for output, target in zip(schema.outputs, targets, strict=True)
            ],
            errors=[
                (place, refused[row].reason, refused[row].feature)
                for place, row in enumerate(chosen)
                if row in refused
            ],
            tolerances=tolerances,
        )
        request = _request(table, chosen, bundle.model, bundle.manifest.version, schema.fingerprint)
        calls.append(PreparedCall(request, len(chosen), expectation))
    return calls


def from_table(
    table: Table, schema: Schema, *, model: str, version: str, rows_per_call: int
) -> list[PreparedCall]:
    """Make calls with rows whose scores are unknown, and check only the shape of the responses."""
    expectation = Shape(schema, rows_per_call)
    return [
        PreparedCall(_request(table, chosen, model, version, schema.fingerprint), rows_per_call, expectation)
        for chosen in _turns(table.row_count, rows_per_call)
    ]


def _values(answered: prediction_pb2.Output, output: schema_pb2.OutputSchema) -> NDArray[Any]:
    if output.kind == schema_pb2.OUTPUT_KIND_TEXT:
        return np.array(list(answered.texts), dtype=object)
    return np.array(answered.numbers, dtype=np.float64)


def _turns(row_count: int, rows_per_call: int) -> list[list[int]]:
    """The rows of each call, chosen so that all rows are sent equally often."""
    if not row_count:
        raise ValueError("there are no rows to send")
    calls = min(
        math.lcm(row_count, rows_per_call) // rows_per_call, MAX_CALLS, max(MAX_ROWS // rows_per_call, 1)
    )
    return [
        [(call * rows_per_call + place) % row_count for place in range(rows_per_call)]
        for call in range(calls)
    ]


def _request(table: Table, chosen: Sequence[int], model: str, version: str, fingerprint: str) -> bytes:
    message = packed_pb2.PackedPredictRequest(model=model, version=version, schema_fingerprint=fingerprint)
    message.rows.row_count = len(chosen)
    numbers = table.numbers[list(chosen)]
    if numbers.size:
        message.rows.numbers.append(numbers.astype(_DOUBLE).tobytes())
    for row in chosen:
        message.rows.texts.extend(table.texts[row])
    return message.SerializeToString()


def _shown(errors: list[tuple[int, errors_pb2.ErrorReason.ValueType, str]]) -> str:
    # A newer server may have reasons that this release does not know.
    names = {number: name for name, number in errors_pb2.ErrorReason.items()}
    shown = [f"{row} ({names.get(reason, reason)} {feature})" for row, reason, feature in errors[:3]]
    return ", ".join(shown) + (", ..." if len(errors) > len(shown) else "") or "none"
