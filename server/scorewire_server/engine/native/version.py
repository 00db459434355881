"""A loaded version as the native engine takes it: plain tuples, and the refusals of rows as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import scorewire_native
from scorewire_contract.coding import RowError, missing_message, number_ranges, unknown_message, whole_message
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, prediction_pb2, schema_pb2
from scorewire_server.engine.encodings.tensor_codec import BYTES
from scorewire_server.engine.native.session import NativeGraph
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.errors import Reason

# The element types of manifests by their numbers in ONNX.
_ELEMENTS = {
    manifest_pb2.ELEMENT_TYPE_FLOAT: 1,
    manifest_pb2.ELEMENT_TYPE_UINT8: 2,
    manifest_pb2.ELEMENT_TYPE_INT8: 3,
    manifest_pb2.ELEMENT_TYPE_UINT16: 4,
    manifest_pb2.ELEMENT_TYPE_INT16: 5,
    manifest_pb2.ELEMENT_TYPE_INT32: 6,
    manifest_pb2.ELEMENT_TYPE_INT64: 7,
    manifest_pb2.ELEMENT_TYPE_STRING: 8,
    manifest_pb2.ELEMENT_TYPE_BOOL: 9,
    manifest_pb2.ELEMENT_TYPE_DOUBLE: 11,
    manifest_pb2.ELEMENT_TYPE_UINT32: 12,
    manifest_pb2.ELEMENT_TYPE_UINT64: 13,
}
# What the extension calls the ways in which texts are cut, and the parts of what is counted.
_ACCENTS = {
    manifest_pb2.ACCENTS_KEPT: "kept",
    manifest_pb2.ACCENTS_STRIPPED: "stripped",
    manifest_pb2.ACCENTS_ASCII: "ascii",
}
_ANALYZERS = {
    manifest_pb2.ANALYZER_WORDS: "words",
    manifest_pb2.ANALYZER_CHARACTERS: "characters",
    manifest_pb2.ANALYZER_CHARACTERS_OF_WORDS: "characters_of_words",
}
_PARTS = {
    manifest_pb2.ENTRY_PART_ROW: "row",
    manifest_pb2.ENTRY_PART_PLACE: "place",
    manifest_pb2.ENTRY_PART_COUNT: "count",
}
# Why rows are refused, in the order of the extension's counts.
ROW_REASONS: tuple[Reason, ...] = tuple(
    errors_pb2.ErrorReason.Value(f"ERROR_REASON_{name}") for name in scorewire_native.ROW_REASONS
)
_FOLDED = manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP


def native_version(engine: scorewire_native.Engine, version: LoadedVersion) -> scorewire_native.Version:
    """Make the engine's version of a loaded one.

    Args:
        engine: the one that is to run it.
        version: one whose graph is a `NativeGraph`.
    """
    graph = version.scorer.run
    if not isinstance(graph, NativeGraph):
        raise TypeError("the native engine runs graphs that its own open_session made")
    schema, coding = version.manifest.schema, version.manifest.coding
    return engine.version(
        graph.native,
        (version.model, version.version),
        version.fingerprint,
        version.row_ns,
        version.max_rows,
        (version.scorer.number_count, version.scorer.text_count),
        [(each.text, each.fold == _FOLDED, list(each.texts)) for each in coding.vocabularies],
        list(map(_bag, coding.bags)),
        list(map(_input, coding.inputs)),
        [
            (output.name, output.width, output.kind == schema_pb2.OUTPUT_KIND_TEXT)
            for output in schema.outputs
        ],
        version.score_output,
        coding.row_by_row,
        version.max_shared_rows,
        list(_checks(schema, coding)),
        _typed(version),
        _tensors(version),
    )


def _typed(version: LoadedVersion) -> scorewire_native.Typed:
    schema, typed = version.manifest.schema, version.typed.schema
    features, counts = [], [0, 0]
    for feature, field in zip(schema.features, typed.features, strict=True):
        is_text = feature.kind == schema_pb2.FEATURE_KIND_TEXT
        features.append((field.number, is_text, counts[is_text]))
        counts[is_text] += 1
    outputs = [
        (
            index,
            field.number,
            field.repeated,
            list(output.class_labels) if output.kind == schema_pb2.OUTPUT_KIND_CLASS else None,
        )
        for index, (output, field) in enumerate(zip(schema.outputs, typed.outputs, strict=True))
    ]
    refusals = [
        [version.typed.error(row_error(each)).SerializeToString() if each else b"" for each in by_reason]
        for *_, by_reason in _checks(schema, version.manifest.coding)
    ]
    return version.major, features, outputs, refusals


def _tensors(version: LoadedVersion) -> scorewire_native.Tensors:
    tensors = version.tensors
    inputs = [
        (each.name, each.datatype == BYTES, list(each.dims), each.optional, tensors.start(each.name))
        for each in tensors.inputs
    ]
    return inputs, [(each.name, each.datatype, list(each.dims)) for each in tensors.outputs]


def row_error(refusal: bytes) -> RowError:
    """A refusal of a call's only row, as the extension has it."""
    told = prediction_pb2.RowError.FromString(refusal)
    return RowError(0, told.reason, told.feature, told.message)


def _bag(bag: manifest_pb2.Bag) -> scorewire_native.Bag:
    characters = bag.tokens.characters
    tokens = (
        characters.word,
        characters.space,
        list(zip(characters.starts, characters.ends, strict=True)),
        characters.excluded,
        bag.tokens.shortest,
        bag.tokens.whole_words,
        list(bag.stop_words),
    )
    return (
        bag.text,
        bag.fold == _FOLDED,
        bag.unicode_version,
        bag.lowercase,
        _ACCENTS[bag.accents],
        _ANALYZERS[bag.analyzer],
        tokens,
        (bag.shortest, bag.longest),
        list(bag.terms),
        (bag.hashing.width, bag.hashing.alternate_sign) if bag.hashing.width else None,
    )


def _input(graph_input: manifest_pb2.GraphInput) -> scorewire_native.Input:
    dims = list(graph_input.shape.dims) if graph_input.HasField("shape") else [len(graph_input.columns)]
    entries = graph_input.entries
    part = (entries.bag, _PARTS[entries.part]) if graph_input.HasField("entries") else None
    columns = list(map(_column, graph_input.columns))
    return graph_input.name, _ELEMENTS[graph_input.type], columns, dims, part


def _column(column: manifest_pb2.Column) -> scorewire_native.Column:
    source = column.WhichOneof("source")
    if source == "number":
        return source, column.number, [], False
    if source == "coded":
        coded = column.coded
        # The unknown text's value stands last, where the index of unknown texts finds it.
        return source, coded.vocabulary, [*coded.values, coded.unknown_value], False
    return "text", column.text.text, [], column.text.fold == _FOLDED


def _checks(schema: schema_pb2.Schema, coding: manifest_pb2.Coding) -> Iterator[scorewire_native.Check]:
    """What each feature refuses, in schema order."""
    ranges = iter(number_ranges(schema, coding))
    numbers = texts = 0
    for feature in schema.features:
        name = feature.name
        messages = {errors_pb2.ERROR_REASON_MISSING_VALUE: missing_message(name)}
        if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
            bounds = next(ranges)
            messages[errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE] = bounds.message
            messages[errors_pb2.ERROR_REASON_NUMBER_NOT_WHOLE] = whole_message(name)
            number = numbers, bounds.low, bounds.high, feature.whole
            yield number, None, feature.missing_allowed, _refusals(name, messages)
            numbers += 1
        else:
            known = [i for i, each in enumerate(coding.vocabularies) if each.text == texts]
            messages[errors_pb2.ERROR_REASON_UNKNOWN_TEXT] = unknown_message(name)
            text = texts, [] if feature.unknown_allowed else known
            yield None, text, feature.missing_allowed, _refusals(name, messages)
            texts += 1


def _refusals(feature: str, messages: Mapping[Reason, str]) -> list[bytes]:
    """For each of ROW_REASONS a RowError but for its row, its first field; empty where none is."""

    def refusal(reason: Reason) -> bytes:
        error = prediction_pb2.RowError(reason=reason, feature=feature, message=messages[reason])
        return error.SerializeToString()

    return [refusal(reason) if reason in messages else b"" for reason in ROW_REASONS]
