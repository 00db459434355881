"""Scores rows with a bundle: codes the rows, runs the graph, and orders its outputs.

The caller passes the function that runs the graph, so that this package needs no
ONNX runtime.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_contract.coding import LARGEST_WHOLE, RowCoder, RowError
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2

# Runs a graph, as onnxruntime's InferenceSession.run: takes the names of the
# outputs and the inputs by name, and returns one array for each output.
RunGraph: TypeAlias = Callable[[list[str], dict[str, NDArray[Any]]], Sequence[NDArray[Any]]]

# The largest tolerance of golden rows: relative to the output, and absolute in units of the largest output.
MAX_TOLERANCE = 0.01

BEYOND_DOUBLES = "whole numbers beyond 2^53, which doubles do not hold"


class GoldenMismatchError(ValueError):
    """A bundle does not reproduce the scores of its golden rows; the message tells where."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The outputs of a model for rows.

    Attributes:
        outputs: one array of shape [rows, width] for each output, in schema order:
            float64, or objects of type str for a text output. A row with an error
            has NaN or "".
        errors: the errors of rows, in ascending order of rows.
        model_ns: the time that the graph ran, in nanoseconds.
    """

    outputs: list[NDArray[Any]]
    errors: list[RowError]
    model_ns: int


class Scorer:
    """Scores rows with one bundle; as safe to share between threads as `run` is.

    Raises:
        ValueError: the coding contradicts itself or the schema.
    """

    def __init__(self, schema: schema_pb2.Schema, coding: manifest_pb2.Coding, run: RunGraph) -> None:
        self.coder = RowCoder(schema, coding)
        self.output_names = [output.name for output in schema.outputs]
        self._widths = [output.width for output in schema.outputs]
        self._texts = [output.kind == schema_pb2.OUTPUT_KIND_TEXT for output in schema.outputs]
        self._row_by_row = coding.row_by_row
        self.run = run
        self.number_count = self.coder.number_count
        self.text_count = self.coder.text_count

    def score(self, row_count: int, numbers: NDArray[np.float64], texts: Sequence[str]) -> Scores:
        """Score rows.

        Args:
            row_count: number of rows.
            numbers: row-major, of size row_count x number_count; NaN is missing.
            texts: row-major, of size row_count x text_count; "" is missing.

        Raises:
            ValueError: an output of the graph does not have the schema's shape, or has
                whole numbers that a double cannot hold.
        """
        coded = self.coder.code(row_count, numbers, texts)
        kept_count = row_count if coded.kept is None else len(coded.kept)
        begin = time.perf_counter_ns()
        if kept_count > 1 and self._row_by_row:
            raw: Sequence[NDArray[Any]] = self._run_each(kept_count, coded.feeds)
        else:
            raw = self.run(self.output_names, coded.feeds) if kept_count else []
        model_ns = time.perf_counter_ns() - begin
        outputs: list[NDArray[Any]] = []
        if any(map(beyond_doubles, raw)):
            raise ValueError(f"an output has {BEYOND_DOUBLES}")
        for index, width in enumerate(self._widths):
            dtype = object if self._texts[index] else np.float64
            if coded.kept is None and kept_count:
                values = np.asarray(raw[index], dtype=dtype).reshape(row_count, width)
            else:
                values = np.full((row_count, width), "" if self._texts[index] else np.nan, dtype=dtype)
                if kept_count:
                    values[coded.kept] = np.asarray(raw[index]).reshape(kept_count, width)
            outputs.append(values)
        return Scores(outputs=outputs, errors=coded.errors, model_ns=model_ns)

    def _run_each(self, row_count: int, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph once for each row, and stack its outputs."""
        answers = [
            self.run(self.output_names, {name: values[row : row + 1] for name, values in feeds.items()})
            for row in range(row_count)
        ]
        return [
            np.stack([np.asarray(answer[i]) for answer in answers]) for i in range(len(self.output_names))
        ]


def score_golden(bundle: Bundle, run: RunGraph) -> int:
    """Score a bundle's golden rows and compare the scores with the fitted model's.

    Returns:
        The number of golden rows.

    Raises:
        GoldenMismatchError: a score or a row's error is not the expected one, or the golden rows
            cannot prove anything.
        ValueError: the coding contradicts itself or the schema.
    """
    golden, schema = bundle.golden, bundle.manifest.schema
    scorer = Scorer(schema, bundle.manifest.coding, run)
    rows, expected = golden.rows, golden.expected
    count = rows.row_count
    if (
        not count
        or len(rows.numbers) != count * scorer.number_count
        or len(rows.texts) != count * scorer.text_count
        or [output.name for output in expected.outputs] != [output.name for output in schema.outputs]
    ):
        raise GoldenMismatchError("the golden rows do not fit the schema")
    _check_tolerances(golden)
    scores = scorer.score(count, np.array(rows.numbers, dtype=np.float64), list(rows.texts))
    found = [(error.row, error.reason, error.feature) for error in scores.errors]
    wanted = [(error.row, error.reason, error.feature) for error in expected.errors]
    if found != wanted:
        raise GoldenMismatchError(f"golden rows refused are {found[:3]}..., expected {wanted[:3]}...")
    if len(found) == count:
        raise GoldenMismatchError("the golden rows prove nothing: every one of them is refused")
    for declared, output, values in zip(schema.outputs, expected.outputs, scores.outputs, strict=True):
        answered = output.texts if values.dtype == object else output.numbers
        if len(answered) != values.size:
            raise GoldenMismatchError(f"the golden rows do not fit output {output.name!r}")
        if values.dtype == object:
            _compare_texts(output.name, values, np.array(output.texts, dtype=object).reshape(values.shape))
            continue
        target = np.array(output.numbers).reshape(values.shape)
        _check_classes(declared, target)
        bad = ~within_tolerance(values, target, golden_tolerance(golden, declared))
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise GoldenMismatchError(
                f"golden row {row}: {output.name}[{column}] is {values[row, column]!r},"
                f" the fitted model gave {target[row, column]!r}"
            )
    return count


def golden_tolerance(golden: manifest_pb2.Golden, output: schema_pb2.OutputSchema) -> manifest_pb2.Tolerance:
    """The tolerance of an output in the golden rows; zero for a class."""
    if output.kind == schema_pb2.OUTPUT_KIND_CLASS:
        return manifest_pb2.Tolerance()
    return golden.output_tolerances.get(output.name, golden.tolerance)


def _check_classes(output: schema_pb2.OutputSchema, values: NDArray[np.float64]) -> None:
    """Check that the values of a class output are indices into its labels."""
    present = values[~np.isnan(values)]
    known = (present >= 0) & (present < len(output.class_labels)) & (present == np.floor(present))
    if output.kind == schema_pb2.OUTPUT_KIND_CLASS and not known.all():
        raise GoldenMismatchError(f"output {output.name!r} is a class, and has values without a label")


def _check_tolerances(golden: manifest_pb2.Golden) -> None:
    """Check that the tolerances are small enough to detect wrong scores."""
    answers = {output.name: output.numbers for output in golden.expected.outputs}
    _check_tolerance(golden.tolerance, [x for numbers in answers.values() for x in numbers])
    for name, tolerance in golden.output_tolerances.items():
        _check_tolerance(tolerance, answers.get(name, ()))


def _check_tolerance(tolerance: manifest_pb2.Tolerance, answers: Iterable[float]) -> None:
    largest = max([1.0, *(abs(x) for x in answers if math.isfinite(x))])
    for name, limit in {"relative": MAX_TOLERANCE, "absolute": MAX_TOLERANCE * largest}.items():
        value = getattr(tolerance, name)
        if not 0 <= value <= limit:
            raise GoldenMismatchError(
                f"the golden rows prove nothing: their {name} tolerance is {value:g}, not from 0 to {limit:g}"
            )


def beyond_doubles(values: NDArray[Any]) -> bool:
    """Whether an array has whole numbers of a magnitude at which doubles are not exact."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return False
    return bool(values.max() > LARGEST_WHOLE or values.min() < -LARGEST_WHOLE)


def _compare_texts(name: str, values: NDArray[Any], target: NDArray[Any]) -> None:
    differing = np.argwhere(values != target)
    if len(differing):
        row, column = map(int, differing[0])
        raise GoldenMismatchError(
            f"golden row {row}: {name}[{column}] is {values[row, column]!r},"
            f" expected is {target[row, column]!r}"
        )


def within_tolerance(
    values: NDArray[np.float64], target: NDArray[np.float64], tolerance: manifest_pb2.Tolerance
) -> NDArray[np.bool_]:
    """Where values equal the target within a tolerance. NaN equals NaN; infinities must be the same."""
    with np.errstate(invalid="ignore"):
        close = np.abs(values - target) <= tolerance.absolute + tolerance.relative * np.abs(target)
    same = (values == target) | (np.isnan(values) & np.isnan(target))
    return np.asarray(same | (close & np.isfinite(target) & np.isfinite(values)))
