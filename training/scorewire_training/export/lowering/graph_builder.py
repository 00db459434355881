"""Builds a model's graph and its inputs: turns symbolic columns into tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import Graph
from scorewire_training.export.lowering.hard_texts import make_hard_texts
from scorewire_training.export.lowering.sparse_counts import (
    CountColumn,
    SparseCounts,
    multiply,
    select,
    write_out,
)
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    ColumnOrigin,
    EncodedText,
    RawNumber,
    RawText,
    SymbolicColumns,
    TensorColumn,
)

NUMBERS_INPUT = "features"
# The names of the inputs that hold a bag's entries, and their types.
_ENTRIES = {
    manifest_pb2.ENTRY_PART_ROW: ("rows", manifest_pb2.ELEMENT_TYPE_INT64, TensorProto.INT64),
    manifest_pb2.ENTRY_PART_PLACE: ("places", manifest_pb2.ELEMENT_TYPE_INT64, TensorProto.INT64),
    manifest_pb2.ENTRY_PART_COUNT: ("counts", manifest_pb2.ELEMENT_TYPE_DOUBLE, TensorProto.DOUBLE),
}


@dataclass(slots=True)
class GraphBuilder:
    """A graph under construction; its inputs have columns in the order of their first use.

    Attributes:
        sample_features: the columns that the model may read, as (name, FEATURE_KIND_*).
        categories: the categories of features that are pandas categoricals in the sample.
        typical: typical numbers of each number feature, the same count for each.
        narrow: the dtypes of number features that libraries compute in less than
            double precision.
        graph: the graph.
        thresholds: the numbers that the model compares each number feature with.
        missing_texts: by text feature without missing texts in the sample, the value
            that the first step takes for a missing text.
        coded_features: the features whose codes of a pandas categorical the model
            takes; a text that is not a category is missing to it.
        hard_texts: by text feature, texts that may be split differently.
        origins: the origins of the columns that have been read.
        only_near: whether rows far from the training rows must be refused, because all
            training rows are equally near to them.
    """

    sample_features: tuple[tuple[str, int], ...]
    categories: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    typical: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    narrow: Mapping[str, str] = field(default_factory=dict)
    graph: Graph = field(default_factory=Graph)
    thresholds: dict[str, list[float]] = field(default_factory=dict)
    missing_texts: dict[str, object] = field(default_factory=dict)
    coded_features: set[str] = field(default_factory=set)
    hard_texts: dict[str, list[str]] = field(default_factory=dict)
    origins: list[ColumnOrigin] = field(default_factory=list)
    only_near: bool = False
    _bags: list[tuple[str, manifest_pb2.Bag]] = field(default_factory=list)
    _slots: dict[RawNumber | EncodedText, int] = field(default_factory=dict)
    _picks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _casts: dict[str, tuple[str, int]] = field(default_factory=dict)
    _asked_double: bool = False
    _zero: str = ""

    # Tensors from symbolic columns

    def tensor(
        self, inputs: SymbolicColumns, element_type: int = TensorProto.DOUBLE, *, absent: float = 0.0
    ) -> str:
        """The columns as one tensor of shape [rows, width], double or float.

        `absent` is the number for a term that a row does not have.

        Raises:
            UnsupportedModelError: a column is text.
        """
        inputs.check_usable()
        for column in inputs.columns:
            if isinstance(column, RawText):
                raise UnsupportedModelError(
                    f"a step that takes numbers is given the text column {column.feature!r}",
                    "encode it in the pipeline first, or leave it out",
                )
            if isinstance(column, TensorColumn) and column.origin is not None:
                self.origins.append(column.origin)
        parts = [
            self._part(source, list(run), element_type, absent)
            for source, run in groupby(inputs.columns, key=_source)
        ]
        if not parts:
            raise UnsupportedModelError("a step is given no columns at all", "drop that step")
        return parts[0] if len(parts) == 1 else self.graph.node("Concat", parts, axis=1)

    def product(self, inputs: SymbolicColumns, weights: NDArray[np.float64]) -> str:
        """The columns times weights of shape [width, targets]: double, [rows, targets].

        Raises:
            UnsupportedModelError: a column is text.
        """
        graph, parts = self.graph, []
        others = [i for i, column in enumerate(inputs.columns) if not isinstance(column, CountColumn)]
        if others:
            x = self.tensor(inputs.take(others))
            parts.append(graph.node("MatMul", [x, self.constant(weights[others])]))
        for counts, pairs in _by_counts(inputs):
            places, indices = np.array(pairs).T
            spread = np.zeros((counts.width, weights.shape[1]))
            np.add.at(spread, indices, weights[places])
            parts.append(multiply(graph, counts, spread))
        return parts[0] if len(parts) == 1 else graph.node("Sum", parts)

    def counts(self, inputs: SymbolicColumns) -> SparseCounts | None:
        """The columns as sparse counts; None unless all are terms of one text, each once and ascending."""
        found = [column for column in inputs.columns if isinstance(column, CountColumn)]
        indices = [term.index for term in found]
        if not found or len(found) < inputs.width or any(t.counts is not found[0].counts for t in found):
            return None
        return select(self.graph, found[0].counts, indices) if indices == sorted(set(indices)) else None

    def count(self, inputs: SymbolicColumns, bag: manifest_pb2.Bag) -> SparseCounts:
        """Count the terms of a text column.

        Args:
            inputs: one text column.
            bag: how the text is split and counted; the text feature is filled in here.

        Raises:
            UnsupportedModelError: the column is not text, or an earlier step filled its
                missing texts.
        """
        (column,) = inputs.columns
        text = _raw(column)
        bag.fold = text.fold
        rows, places, values = (_entries_name(len(self._bags), stem) for stem, _, _ in _ENTRIES.values())
        self._bags.append((text.feature, bag))
        self.hard_texts.setdefault(text.feature, []).extend(make_hard_texts(bag))
        if not self._zero:
            # This column of zeros tells the graph the number of rows.
            self._zero = self.tensor(
                SymbolicColumns((EncodedText(text.feature, text.fold, {}, 0.0, strict=False),))
            )
        width, signed = bag.hashing.width or len(bag.terms), bag.hashing.alternate_sign
        return SparseCounts(rows, places, values, self._zero, width, signed)

    def constant(self, values: float | Sequence[float] | NDArray[np.float64]) -> str:
        """Add a double constant; returns its name."""
        return self.graph.constant(np.asarray(values, dtype=np.float64))

    def cast(self, tensor: str, element_type: int) -> str:
        """Add a cast to an element type; returns the result."""
        return self.graph.node("Cast", [tensor], to=element_type)

    # Facts about features that are collected while lowering

    def add_thresholds(self, column: Column, values: Iterable[float]) -> None:
        """Record the numbers that the model compares a column with, if it is an unchanged number feature."""
        if isinstance(column, RawNumber):
            self.thresholds.setdefault(column.feature, []).extend(float(value) for value in values)

    def _part(self, source: str, run: list[Column], element_type: int, absent: float) -> str:
        """Columns of one source as one tensor of the element type."""
        if source == NUMBERS_INPUT:
            places = [
                self._slots.setdefault(column, len(self._slots))
                for column in run
                if isinstance(column, RawNumber | EncodedText)
            ]
            if element_type == TensorProto.DOUBLE:
                self._asked_double = True
            tensor = self._pick(places)
            cast = self.cast(tensor, element_type)
            self._casts[cast] = (tensor, element_type)
            return cast
        if isinstance(run[0], CountColumn):
            chosen = [column.index for column in run if isinstance(column, CountColumn)]
            written = write_out(self.graph, run[0].counts, chosen, absent=absent)
            return written if element_type == TensorProto.DOUBLE else self.cast(written, element_type)
        whole = [column for column in run if isinstance(column, TensorColumn)]
        indices = [cell.index for cell in whole]
        tensor = source
        if indices != list(range(whole[0].width)):
            tensor = self.graph.node("Gather", [source, self._indices(indices)], axis=1)
        return tensor if element_type == TensorProto.DOUBLE else self.cast(tensor, element_type)

    def _pick(self, places: list[int]) -> str:
        """Gather columns of the input; `finish` removes the node if it gathers all columns in order."""
        tensor = self.graph.node("Gather", [NUMBERS_INPUT, self._indices(places)], axis=1)
        self._picks[tensor] = tuple(places)
        return tensor

    def _indices(self, places: Sequence[int]) -> str:
        return self.graph.constant(np.asarray(places, dtype=np.int64), "places")

    # The finished graph

    @property
    def features(self) -> tuple[tuple[str, int], ...]:
        """The columns that have been read, as (name, FEATURE_KIND_*), in the sample's order."""
        read = {column.feature for column in self._slots} | {feature for feature, _ in self._bags}
        return tuple(feature for feature in self.sample_features if feature[0] in read)

    def finish(self, name: str) -> tuple[onnx.ModelProto, manifest_pb2.Coding, dict[str, tuple[str, ...]]]:
        """Finish the graph.

        Returns:
            The checked graph, how rows become its inputs, and the known texts by feature.

        Raises:
            UnsupportedModelError: no step reads any feature, or parts that other
                converters made do not fit together.
        """
        if not self._slots:
            raise UnsupportedModelError(
                "the model uses none of its features",
                "its scores are constant: use the constant instead of the model",
            )
        coding = manifest_pb2.Coding()
        positions = _positions(self.features)
        known: dict[str, tuple[str, ...]] = {}
        double = self._asked_double
        numbers = coding.inputs.add(
            name=NUMBERS_INPUT,
            type=manifest_pb2.ELEMENT_TYPE_DOUBLE if double else manifest_pb2.ELEMENT_TYPE_FLOAT,
        )
        vocabularies = self._add_vocabularies(coding, positions, known)
        for column in self._slots:
            if isinstance(column, RawNumber):
                numbers.columns.add(number=positions[column.feature])
            else:
                index = vocabularies[column.feature, column.fold]
                texts = coding.vocabularies[index].texts
                values = [column.values.get(text, column.unknown) for text in texts]
                numbers.columns.add().coded.CopyFrom(
                    manifest_pb2.CodedText(vocabulary=index, values=values, unknown_value=column.unknown)
                )
        element_type = TensorProto.DOUBLE if double else TensorProto.FLOAT
        self.graph.input(NUMBERS_INPUT, element_type, len(self._slots))
        for place, (feature, bag) in enumerate(self._bags):
            bag.text = positions[feature]
            coding.bags.append(bag)
            for part, (stem, coded_type, graph_type) in _ENTRIES.items():
                entries = coding.inputs.add(name=_entries_name(place, stem), type=coded_type)
                entries.entries.bag, entries.entries.part = place, part
                self.graph.input_of_entries(entries.name, graph_type, f"entries_{place}")
        try:
            model = self.graph.build(name)
        except onnx.checker.ValidationError as error:
            raise UnsupportedModelError(
                f"the parts of {name} do not fit into one graph: {str(error).strip().splitlines()[0]}",
                "combine models that have rules of their own: trees, linear models, networks",
            ) from error
        self._remove_unused_nodes(model.graph)
        return model, coding, known

    def _add_vocabularies(
        self, coding: manifest_pb2.Coding, positions: dict[str, int], known: dict[str, tuple[str, ...]]
    ) -> dict[tuple[str, manifest_pb2.TextFold.ValueType], int]:
        """Add a vocabulary for each text feature and fold; returns their indices."""
        columns = [column for column in self._slots if isinstance(column, EncodedText)]
        result: dict[tuple[str, manifest_pb2.TextFold.ValueType], int] = {}
        for column in columns:
            key = (column.feature, column.fold)
            if key in result:
                continue
            alike = [other for other in columns if (other.feature, other.fold) == key]
            texts = dict.fromkeys(text for other in alike for text in other.values)
            # A text that one of the encoders refuses is unknown to the model.
            strict = [other.values for other in alike if other.strict]
            accepted = [text for text in texts if all(text in values for values in strict)]
            result[key] = len(coding.vocabularies)
            coding.vocabularies.add(text=positions[column.feature], fold=column.fold, texts=accepted)
            known[column.feature] = tuple(dict.fromkeys((*known.get(column.feature, ()), *accepted)))
        return result

    def _remove_unused_nodes(self, graph: onnx.GraphProto) -> None:
        """Remove gathers of all columns, casts to the input's own type, and unused nodes and constants."""
        whole = tuple(range(len(self._slots)))
        own_type = TensorProto.DOUBLE if self._asked_double else TensorProto.FLOAT
        idle = {tensor: NUMBERS_INPUT for tensor, places in self._picks.items() if places == whole}
        idle |= {
            cast: idle.get(tensor, tensor)
            for cast, (tensor, element_type) in self._casts.items()
            if element_type == own_type
        }
        # In place, because the memory of a copied large node is not returned.
        used = {output.name for output in graph.output}
        for place in reversed(range(len(graph.node))):
            node = graph.node[place]
            if node.output[0] in idle or used.isdisjoint(node.output):
                del graph.node[place]
            else:
                node.input[:] = [idle.get(name, name) for name in node.input]
                used.update(node.input)
        for place in reversed(range(len(graph.initializer))):
            if graph.initializer[place].name not in used:
                del graph.initializer[place]


def _source(column: Column) -> str:
    if isinstance(column, CountColumn):
        return column.counts.values
    return column.tensor if isinstance(column, TensorColumn) else NUMBERS_INPUT


def _entries_name(bag: int, stem: str) -> str:
    """The name of an input of a bag's entries; `Graph.name` never makes such a name."""
    return f"words{bag}_{stem}"


def _raw(column: Column) -> RawText:
    """Check that a column is an unchanged text feature.

    Raises:
        UnsupportedModelError: the column is not text, or an earlier step filled its missing texts.
    """
    if not isinstance(column, RawText):
        raise UnsupportedModelError("a step that takes text is given numbers", "give it text columns only")
    if any(isinstance(spelling, str) and spelling for spelling in column.spellings):
        raise UnsupportedModelError(
            f"missing texts of {column.feature!r} are filled before a step that reads raw text",
            'fill them with "" instead, before the model is fitted',
        )
    return column


def _by_counts(inputs: SymbolicColumns) -> list[tuple[SparseCounts, list[tuple[int, int]]]]:
    """The sparse counts among the columns, each with pairs of a column's position and its index there."""
    found: dict[str, tuple[SparseCounts, list[tuple[int, int]]]] = {}
    for place, column in enumerate(inputs.columns):
        if isinstance(column, CountColumn):
            _, places = found.setdefault(column.counts.values, (column.counts, []))
            places.append((place, column.index))
    return list(found.values())


def _positions(features: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """Each feature's position among the features of its kind."""
    counts: dict[int, int] = {schema_pb2.FEATURE_KIND_NUMBER: 0, schema_pb2.FEATURE_KIND_TEXT: 0}
    result = {}
    for name, kind in features:
        result[name] = counts[kind]
        counts[kind] += 1
    return result
