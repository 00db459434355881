"""Codes rows: checks them and turns them into graph inputs, for export and engines alike.

A manifest's `Coding` gives the source of each column of each graph input: a
number, a text converted to a number by a vocabulary, or a text as it is. Some
inputs have the counts of words instead. A row that the schema does not allow gets
an error and is left out, so that the other rows of its call are still scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.folding import fold_of, unfolded
from scorewire_contract.words import Bag, Entries
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, schema_pb2

_WHOLE_DTYPES: dict[int, type[np.integer[Any]]] = {
    manifest_pb2.ELEMENT_TYPE_INT8: np.int8,
    manifest_pb2.ELEMENT_TYPE_INT16: np.int16,
    manifest_pb2.ELEMENT_TYPE_INT32: np.int32,
    manifest_pb2.ELEMENT_TYPE_INT64: np.int64,
    manifest_pb2.ELEMENT_TYPE_UINT8: np.uint8,
    manifest_pb2.ELEMENT_TYPE_UINT16: np.uint16,
    manifest_pb2.ELEMENT_TYPE_UINT32: np.uint32,
    manifest_pb2.ELEMENT_TYPE_UINT64: np.uint64,
}
_DTYPES: dict[int, type[np.generic]] = {
    **_WHOLE_DTYPES,
    manifest_pb2.ELEMENT_TYPE_FLOAT: np.float32,
    manifest_pb2.ELEMENT_TYPE_DOUBLE: np.float64,
    manifest_pb2.ELEMENT_TYPE_BOOL: np.bool_,
}
# A double holds every whole number up to this magnitude exactly.
LARGEST_WHOLE = 2.0**53


def missing_message(feature: str) -> str:
    """The error message for a missing value of a feature that must not be missing."""
    return f"{feature} is missing"


class NumberRange(NamedTuple):
    """The range of numbers that a model takes for a feature; it includes `low` and `high`."""

    feature: str
    low: float
    high: float

    @property
    def message(self) -> str:
        """The error message for a number outside the range."""
        if self.low == -self.high:
            taken = f"magnitudes up to {self.high:g}"
        elif -LARGEST_WHOLE <= self.low <= self.high <= LARGEST_WHOLE:
            taken = f"{_told(self.low)} to {_told(self.high)}"
        else:
            bounds = []
            if self.low > -math.inf:
                beyond = math.nextafter(self.low, -math.inf)
                is_open = len(repr(beyond)) < len(repr(self.low))
                bounds.append(f"above {_told(beyond)}" if is_open else f"from {_told(self.low)}")
            if self.high < math.inf:
                bounds.append(f"up to {_told(self.high)}")
            taken = f"numbers {' and '.join(bounds)}"
        return f"{self.feature} is out of range: this model takes {taken}"


def _told(number: float) -> str:
    """The shortest decimal text of the number; 5 and not 5.0."""
    return repr(number).removesuffix(".0")


def number_ranges(schema: schema_pb2.Schema, coding: manifest_pb2.Coding) -> list[NumberRange]:
    """The range of each number feature, by its limits and the types of its graph inputs; in schema order."""
    numbers = [each for each in schema.features if each.kind == schema_pb2.FEATURE_KIND_NUMBER]
    ranges = [_range_by_limits(each) for each in numbers]
    for graph_input in coding.inputs:
        if graph_input.type == manifest_pb2.ELEMENT_TYPE_BOOL:
            low, high = 0.0, 1.0
        elif graph_input.type in _WHOLE_DTYPES:
            held = np.iinfo(_WHOLE_DTYPES[graph_input.type])
            low, high = max(float(held.min), -LARGEST_WHOLE), min(float(held.max), LARGEST_WHOLE)
        else:
            continue
        for column in graph_input.columns:
            if column.WhichOneof("source") == "number" and column.number < len(ranges):
                taken = ranges[column.number]
                ranges[column.number] = NumberRange(taken.feature, max(taken.low, low), min(taken.high, high))
    return ranges


def _range_by_limits(feature: schema_pb2.Feature) -> NumberRange:
    low, high = -feature.magnitude_limit, feature.magnitude_limit
    if feature.HasField("lower_limit"):
        low = max(low, feature.lower_limit)
    if feature.HasField("upper_limit"):
        high = min(high, feature.upper_limit)
    return NumberRange(feature.name, low, high)


def whole_message(feature: str) -> str:
    """The error message for a number that is not whole, of a feature that must be whole."""
    return f"{feature} is not a whole number"


def unknown_message(feature: str) -> str:
    """The error message for a text that the model does not know and does not take."""
    return f"{feature} is a text that this model does not know"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row has no score; `row` counts from 0."""

    row: int
    reason: errors_pb2.ErrorReason.ValueType
    feature: str
    message: str


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Graph inputs for the rows without an error.

    Attributes:
        feeds: for each graph input, an array of shape [len(kept), columns], or of
            shape [entries] if it has counts of words.
        kept: the indices of the rows without an error, in ascending order; None if
            no row has an error.
        errors: one error for every other row, in ascending order of rows.
    """

    feeds: dict[str, NDArray[Any]]
    kept: NDArray[np.intp] | None
    errors: list[RowError]


class RowCoder:
    """Codes rows for one bundle; safe to share between threads.

    Raises:
        ValueError: the coding contradicts itself or the schema.
    """

    def __init__(self, schema: schema_pb2.Schema, coding: manifest_pb2.Coding) -> None:
        numbers = [f for f in schema.features if f.kind == schema_pb2.FEATURE_KIND_NUMBER]
        texts = [f for f in schema.features if f.kind == schema_pb2.FEATURE_KIND_TEXT]
        if len(numbers) + len(texts) != len(schema.features):
            raise ValueError("a feature of the schema is neither number nor text")
        self.number_count = len(numbers)
        self.text_count = len(texts)
        self._vocabularies = [_Vocabulary(message, len(texts)) for message in coding.vocabularies]
        self._bags = [Bag(message, len(texts)) for message in coding.bags]
        if self._bags and coding.row_by_row:
            raise ValueError("a graph that takes one row in a run is given counts of words")
        counted = [message for message in coding.inputs if message.HasField("entries")]
        self._entries = [_EntriesInput(message, len(self._bags)) for message in counted]
        self._inputs = [
            _Input(message, self._vocabularies, len(numbers), len(texts))
            for message in coding.inputs
            if not message.HasField("entries")
        ]
        if not all(f.magnitude_limit >= 0 for f in numbers):
            raise ValueError("a feature's magnitude limit is not a number from 0 to infinity")
        own = [_range_by_limits(f) for f in numbers]
        if not all(each.low <= each.high for each in own):
            raise ValueError("a feature's limits leave no number between them")
        self._missing_allowed = np.array([f.missing_allowed for f in numbers], dtype=np.bool_)
        self._whole = np.array([f.whole for f in numbers], dtype=np.bool_)
        self._ranges = number_ranges(schema, coding)
        self._lows = np.array([each.low for each in self._ranges])
        self._highs = np.array([each.high for each in self._ranges])
        if any(
            each != taken and not f.whole for each, taken, f in zip(own, self._ranges, numbers, strict=True)
        ):
            raise ValueError("a feature fills a tensor of whole numbers, and need not be whole")
        self._any_whole = bool(self._whole.any())
        self._even = bool((self._lows == -self._highs).all()) and not self._any_whole
        self._free_numbers = all(
            f.missing_allowed and each.low == -math.inf and each.high == math.inf and not f.whole
            for f, each in zip(numbers, own, strict=True)
        )
        self._free_texts = all(f.missing_allowed and f.unknown_allowed for f in texts)
        self._checks = self._build_checks(schema)

    def code(self, row_count: int, numbers: NDArray[np.float64], texts: Sequence[str]) -> CodedRows:
        """Check rows and turn them into graph inputs.

        Args:
            row_count: number of rows.
            numbers: row-major, of size row_count x number_count; NaN is missing.
            texts: row-major, of size row_count x text_count; "" is missing.
        """
        table = numbers.reshape(row_count, self.number_count)
        codes = [vocabulary.look_up(row_count, texts, self.text_count) for vocabulary in self._vocabularies]
        kept = None
        errors = self._find_errors(table, texts, codes)
        if errors:
            bad = {error.row for error in errors}
            kept = np.array([row for row in range(row_count) if row not in bad], dtype=np.intp)
            table = table[kept]
            codes = [column[kept] for column in codes]
            width = self.text_count
            texts = [text for row in kept for text in texts[row * width : (row + 1) * width]]
        feeds = {part.name: part.fill(table, codes, texts) for part in self._inputs}
        if self._bags:
            counts = [bag.count(texts[bag.text :: self.text_count]) for bag in self._bags]
            feeds |= {part.name: part.pick(counts) for part in self._entries}
        return CodedRows(feeds=feeds, kept=kept, errors=errors)

    def _build_checks(self, schema: schema_pb2.Schema) -> list[_NumberCheck | _TextCheck]:
        """The checks of all features, in schema order."""
        checks: list[_NumberCheck | _TextCheck] = []
        number = text = 0
        for feature in schema.features:
            if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
                checks.append(_NumberCheck(feature, number, self._ranges[number]))
                number += 1
            else:
                known = [i for i, v in enumerate(self._vocabularies) if v.text == text]
                checks.append(_TextCheck(feature, text, self.text_count, known))
                text += 1
        return checks

    def _find_errors(
        self, table: NDArray[np.float64], texts: Sequence[str], codes: list[NDArray[np.intp]]
    ) -> list[RowError]:
        """The error of each bad row: that of its first bad feature, in schema order."""
        if self._free_texts and self._numbers_pass(table):
            return []
        found: dict[int, RowError] = {}
        for check in self._checks:
            for row, reason, message in check.find(table, texts, codes):
                if row not in found:
                    found[row] = RowError(row, reason, check.feature, message)
        return [found[row] for row in sorted(found)]

    def _numbers_pass(self, table: NDArray[np.float64]) -> bool:
        """Whether every number passes its checks."""
        if self._free_numbers:
            return True
        # One comparison clears most calls. NaN compares as false, so missing values are checked only then.
        if self._even:
            passes = np.abs(table) <= self._highs
        else:
            passes = (table >= self._lows) & (table <= self._highs)
            if self._any_whole:
                passes &= ~self._whole | (table == np.floor(table))
        return bool(passes.all() or (passes | (np.isnan(table) & self._missing_allowed)).all())


class _Vocabulary:
    """Looks up the indices of texts; -1 for a text that is not in the vocabulary."""

    def __init__(self, message: manifest_pb2.Vocabulary, text_count: int) -> None:
        if message.text >= text_count:
            raise ValueError(f"a vocabulary is for text feature {message.text} of {text_count}")
        self.text = message.text
        self._fold = fold_of(message.fold)
        self._index = {text: index for index, text in enumerate(message.texts)}
        self.size = len(message.texts)
        if len(self._index) != self.size:
            raise ValueError(f"the vocabulary of text feature {message.text} repeats a text")

    def look_up(self, row_count: int, texts: Sequence[str], text_count: int) -> NDArray[np.intp]:
        fold, get = self._fold, self._index.get
        if fold is unfolded:
            found = (get(text, -1) for text in texts[self.text :: text_count])
        else:
            found = (get(fold(text), -1) for text in texts[self.text :: text_count])
        return np.fromiter(found, dtype=np.intp, count=row_count)


class _Input:
    """Fills one graph input."""

    def __init__(
        self,
        message: manifest_pb2.GraphInput,
        vocabularies: list[_Vocabulary],
        number_count: int,
        text_count: int,
    ) -> None:
        self.name = message.name
        self._text_count = text_count
        self._width = len(message.columns)
        self._dims = tuple(message.shape.dims) if message.HasField("shape") else (self._width,)
        if math.prod(self._dims) != self._width:
            raise ValueError(f"input {self.name!r} has {self._width} columns for rows of {self._dims}")
        kinds = {column.WhichOneof("source") for column in message.columns}
        self._raw: list[tuple[int, Callable[[str], str]]] = []
        if message.type == manifest_pb2.ELEMENT_TYPE_STRING:
            if kinds != {"text"}:
                raise ValueError(f"input {self.name!r} takes texts, and not all its columns are")
            self._raw = [(column.text.text, fold_of(column.text.fold)) for column in message.columns]
            if any(text >= text_count for text, _ in self._raw):
                raise ValueError(f"input {self.name!r} has a column of a text feature that is not there")
            return
        if message.type not in _DTYPES or not kinds <= {"number", "coded"}:
            raise ValueError(f"input {self.name!r} takes numbers, and not all its columns are")
        self._dtype = _DTYPES[message.type]
        pairs = [(i, column) for i, column in enumerate(message.columns)]
        targets = [i for i, column in pairs if column.WhichOneof("source") == "number"]
        sources = [column.number for _, column in pairs if column.WhichOneof("source") == "number"]
        if any(number >= number_count for number in sources):
            raise ValueError(f"input {self.name!r} has a column of a number feature that is not there")
        self._in_place = sources == list(range(number_count)) and len(sources) == self._width
        self._targets, self._sources = _positions(targets), _positions(sources)
        self._coded: list[tuple[int, int, NDArray[Any]]] = []
        for i, column in pairs:
            if column.WhichOneof("source") != "coded":
                continue
            coded = column.coded
            if coded.vocabulary >= len(vocabularies):
                raise ValueError(f"input {self.name!r} names a vocabulary that is not there")
            if len(coded.values) != vocabularies[coded.vocabulary].size:
                raise ValueError(f"input {self.name!r}, column {i}: not one value for each text")
            # The value of an unknown text comes last, where index -1 finds it.
            declared = np.array([*coded.values, coded.unknown_value])
            with np.errstate(over="ignore", invalid="ignore"):
                values = declared.astype(self._dtype)
                held = self._dtype in (np.float32, np.float64) or (values == declared).all()
            if not held:
                raise ValueError(
                    f"input {self.name!r}, column {i}: a value for a text does not have the input's type"
                )
            self._coded.append((i, coded.vocabulary, values))

    def fill(
        self, table: NDArray[np.float64], codes: list[NDArray[np.intp]], texts: Sequence[str]
    ) -> NDArray[Any]:
        if self._raw:
            columns = [[fold(t) for t in texts[i :: self._text_count]] for i, fold in self._raw]
            filled = np.array(columns, dtype=object).reshape(self._width, len(table)).T
            return filled.reshape(len(table), *self._dims)
        with np.errstate(over="ignore"):
            if self._in_place:
                return table.astype(self._dtype).reshape(len(table), *self._dims)
            filled = np.empty((len(table), self._width), dtype=self._dtype)
            filled[:, self._targets] = table[:, self._sources]
        for column, vocabulary, values in self._coded:
            filled[:, column] = values[codes[vocabulary]]
        return filled.reshape(len(table), *self._dims)


class _EntriesInput:
    """Fills one graph input that has a part of the entries of a bag."""

    def __init__(self, message: manifest_pb2.GraphInput, bag_count: int) -> None:
        self.name = message.name
        self._bag, part = message.entries.bag, message.entries.part
        if self._bag >= bag_count or message.columns or message.HasField("shape"):
            raise ValueError(f"input {self.name!r} names a bag that is not there, or has columns besides")
        if part not in _ENTRY_PARTS or message.type != _ENTRY_PARTS[part][1]:
            raise ValueError(f"input {self.name!r} has no part of counts, or one of another type")
        self._part = _ENTRY_PARTS[part][0]

    def pick(self, counts: list[Entries]) -> NDArray[Any]:
        """The array of this input, given the counts of all bags."""
        return counts[self._bag][self._part]


# The position of each part in Entries, and its element type.
_ENTRY_PARTS = {
    manifest_pb2.ENTRY_PART_ROW: (0, manifest_pb2.ELEMENT_TYPE_INT64),
    manifest_pb2.ENTRY_PART_PLACE: (1, manifest_pb2.ELEMENT_TYPE_INT64),
    manifest_pb2.ENTRY_PART_COUNT: (2, manifest_pb2.ELEMENT_TYPE_DOUBLE),
}


def _positions(indices: list[int]) -> slice | NDArray[np.intp]:
    """Indices for numpy: a slice if they are consecutive, which takes a tenth of the time."""
    first = indices[0] if indices else 0
    if indices == list(range(first, first + len(indices))):
        return slice(first, first + len(indices))
    return np.array(indices, dtype=np.intp)


_Finding: TypeAlias = "tuple[int, errors_pb2.ErrorReason.ValueType, str]"


class _NumberCheck:
    """Finds rows whose number the model refuses."""

    def __init__(self, feature: schema_pb2.Feature, position: int, taken: NumberRange) -> None:
        self.feature = feature.name
        self._position = position
        self._missing_allowed = feature.missing_allowed
        self._low, self._high = taken.low, taken.high
        self._whole = feature.whole
        self._range_message = taken.message

    def find(
        self,
        table: NDArray[np.float64],
        texts: Sequence[str],  # noqa: ARG002 - the checks share a signature
        codes: list[NDArray[np.intp]],  # noqa: ARG002
    ) -> Iterator[_Finding]:
        column = table[:, self._position]
        if not self._missing_allowed:
            for row in np.flatnonzero(np.isnan(column)):
                yield int(row), errors_pb2.ERROR_REASON_MISSING_VALUE, missing_message(self.feature)
        for row in np.flatnonzero((column < self._low) | (column > self._high)):
            yield int(row), errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, self._range_message
        if self._whole:
            for row in np.flatnonzero(column != np.floor(column)):
                if not np.isnan(column[row]):
                    message = whole_message(self.feature)
                    yield int(row), errors_pb2.ERROR_REASON_NUMBER_NOT_WHOLE, message


class _TextCheck:
    """Finds rows whose text the model refuses."""

    def __init__(self, feature: schema_pb2.Feature, position: int, stride: int, known: list[int]) -> None:
        self.feature = feature.name
        self._position = position
        self._stride = stride
        self._missing_allowed = feature.missing_allowed
        self._vocabularies = [] if feature.unknown_allowed else known

    def find(
        self,
        table: NDArray[np.float64],  # noqa: ARG002 - the checks share a signature
        texts: Sequence[str],
        codes: list[NDArray[np.intp]],
    ) -> Iterator[_Finding]:
        if not self._missing_allowed:
            for row, text in enumerate(texts[self._position :: self._stride]):
                if not text:
                    yield row, errors_pb2.ERROR_REASON_MISSING_VALUE, missing_message(self.feature)
        for vocabulary in self._vocabularies:
            for row in map(int, np.flatnonzero(codes[vocabulary] < 0)):
                if texts[row * self._stride + self._position]:
                    yield row, errors_pb2.ERROR_REASON_UNKNOWN_TEXT, unknown_message(self.feature)
