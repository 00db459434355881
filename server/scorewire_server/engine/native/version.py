"""Turns a loaded version into the plain values that the extension takes.

The extension knows nothing of manifests. It gets the tables that it needs, and the
errors of rows as bytes that it copies into answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import scorewire_native
from scorewire_contract.coding import RowError, missing_message, number_ranges, unknown_message, whole_message
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, prediction_pb2, schema_pb2
from scorewire_server.engine.encodings.tensor_elements import BYTES
from scorewire_server.engine.explaining import Explainer
from scorewire_server.engine.native.contributions import NativeContributions
from scorewire_server.engine.native.session import NativeGraph
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.errors import Reason

# ONNX's numbers for the element types of manifests.
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
# The extension's names for the ways to cut texts, and for the parts of the counts.
_ACCENTS: dict[int, Literal["kept", "stripped", "ascii"]] = {
    manifest_pb2.ACCENTS_KEPT: "kept",
    manifest_pb2.ACCENTS_STRIPPED: "stripped",
    manifest_pb2.ACCENTS_ASCII: "ascii",
}
_ANALYZERS: dict[int, Literal["words", "characters", "characters_of_words"]] = {
    manifest_pb2.ANALYZER_WORDS: "words",
    manifest_pb2.ANALYZER_CHARACTERS: "characters",
    manifest_pb2.ANALYZER_CHARACTERS_OF_WORDS: "characters_of_words",
}
_PARTS: dict[int, Literal["row", "place", "count"]] = {
    manifest_pb2.ENTRY_PART_ROW: "row",
    manifest_pb2.ENTRY_PART_PLACE: "place",
    manifest_pb2.ENTRY_PART_COUNT: "count",
}
# The reasons of row errors, in the order of the extension's counts.
ROW_REASONS: tuple[Reason, ...] = tuple(
    errors_pb2.ErrorReason.Value(f"ERROR_REASON_{name}") for name in scorewire_native.ROW_REASONS
)
_FOLDED = manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP


def native_version(engine: scorewire_native.Engine, version: LoadedVersion) -> scorewire_native.Version:
    """Make the extension's version of a loaded version.

    Args:
        engine: the extension's engine that will run the version.
        version: a version whose graph was opened by this engine's `open_session`.

    Raises:
        TypeError: another engine opened the graph.
    """
    graph = version.scorer.run
    if not isinstance(graph, NativeGraph):
        raise TypeError("the native engine runs graphs that its own open_session made")
    schema, coding = version.manifest.schema, version.manifest.coding
    return engine.version(
        {
            "graph": graph.native,
            "model": version.model,
            "version": version.version,
            "major": version.major,
            "fingerprint": version.fingerprint,
            "row_ns": version.row_ns,
            "max_rows": version.max_rows,
            "number_count": version.scorer.number_count,
            "text_count": version.scorer.text_count,
            "vocabularies": list(map(_vocabulary, coding.vocabularies)),
            "bags": list(map(_bag, coding.bags)),
            "inputs": list(map(_input, coding.inputs)),
            "outputs": list(map(_output, schema.outputs)),
            "score_output": version.score_output,
            "row_by_row": coding.row_by_row,
            "max_shared_rows": version.max_shared_rows,
            "checks": list(_checks(version)),
            "columns": [feature.name for feature in schema.features],
            "explainers": list(map(_explainer, version.explanations.explainers.values())),
            "typed_fields": list(_typed_fields(version)),
            "typed_outputs": list(_typed_outputs(version)),
            "tensor_inputs": list(_tensor_inputs(version)),
            "tensor_outputs": list(_tensor_outputs(version)),
        }
    )


def _explainer(explainer: Explainer) -> scorewire_native.ExplainerParts:
    graph, trees, told = explainer.graph, explainer.trees, explainer.told
    if not isinstance(graph, NativeGraph) or not isinstance(trees, NativeContributions):
        raise TypeError("the native engine explains by its own graphs and contributions")
    return {
        "output": told.output,
        "link": told.link,
        "labels": list(told.labels),
        "graph": graph.native,
        "trees": trees.native,
        "tree_inputs": [(term.input, len(term.features)) for term in told.trees],
        "linear": [(term.values, list(term.features)) for term in told.linear],
        "constants": list(told.constants),
        "base": list(explainer.base),
        "row_ns": explainer.row_ns,
        # A program computes each row for itself, as it is proven of that of the scores.
        "is_joint": bool(graph.description),
    }


def _typed_fields(version: LoadedVersion) -> Iterator[scorewire_native.TypedField]:
    counts = [0, 0]
    fields = version.typed.schema.features
    for feature, field in zip(version.manifest.schema.features, fields, strict=True):
        text = feature.kind == schema_pb2.FEATURE_KIND_TEXT
        yield {"number": field.number, "text": text, "position": counts[text]}
        counts[text] += 1


def _typed_outputs(version: LoadedVersion) -> Iterator[scorewire_native.TypedOutput]:
    fields = version.typed.schema.outputs
    for index, (output, field) in enumerate(zip(version.manifest.schema.outputs, fields, strict=True)):
        is_class = output.kind == schema_pb2.OUTPUT_KIND_CLASS
        yield {
            "output": index,
            "number": field.number,
            "repeated": field.repeated,
            "labels": list(output.class_labels) if is_class else None,
        }


def _tensor_inputs(version: LoadedVersion) -> Iterator[scorewire_native.TensorInput]:
    for each in version.tensors.inputs:
        yield {
            "name": each.name,
            "texts": each.datatype == BYTES,
            "dims": list(each.dims),
            "optional": each.optional,
            "start": version.tensors.start(each.name),
        }


def _tensor_outputs(version: LoadedVersion) -> Iterator[scorewire_native.TensorOutput]:
    for each in version.tensors.outputs:
        yield {"name": each.name, "datatype": each.datatype, "dims": list(each.dims)}


def row_error(refusal: bytes) -> RowError:
    """The error of a call's only row, from the bytes that the extension has."""
    error = prediction_pb2.RowError.FromString(refusal)
    return RowError(0, error.reason, error.feature, error.message)


def _vocabulary(vocabulary: manifest_pb2.Vocabulary) -> scorewire_native.Vocabulary:
    fold = vocabulary.fold == _FOLDED
    return {"text": vocabulary.text, "fold": fold, "texts": list(vocabulary.texts)}


def _bag(bag: manifest_pb2.Bag) -> scorewire_native.Bag:
    characters = bag.tokens.characters
    return {
        "text": bag.text,
        "fold": bag.fold == _FOLDED,
        "unicode": bag.unicode_version,
        "lowercase": bag.lowercase,
        "accents": _ACCENTS[bag.accents],
        "analyzer": _ANALYZERS[bag.analyzer],
        "tokens": {
            "word": characters.word,
            "space": characters.space,
            "ranges": list(zip(characters.starts, characters.ends, strict=True)),
            "excluded": characters.excluded,
            "shortest": bag.tokens.shortest,
            "whole_words": bag.tokens.whole_words,
            "stop_words": list(bag.stop_words),
        },
        "sizes": (bag.shortest, bag.longest),
        "terms": list(bag.terms),
        "hashing": (bag.hashing.width, bag.hashing.alternate_sign) if bag.hashing.width else None,
    }


def _input(graph_input: manifest_pb2.GraphInput) -> scorewire_native.Input:
    dims = list(graph_input.shape.dims) if graph_input.HasField("shape") else [len(graph_input.columns)]
    entries = graph_input.entries
    return {
        "name": graph_input.name,
        "element": _ELEMENTS[graph_input.type],
        "columns": list(map(_column, graph_input.columns)),
        "dims": dims,
        "entries": (entries.bag, _PARTS[entries.part]) if graph_input.HasField("entries") else None,
    }


def _column(column: manifest_pb2.Column) -> scorewire_native.Column:
    source = column.WhichOneof("source")
    if source == "number":
        return {"kind": "number", "position": column.number, "values": [], "fold": False}
    if source == "coded":
        coded = column.coded
        # The value for unknown texts comes last, where the index of unknown texts points.
        values = [*coded.values, coded.unknown_value]
        return {"kind": "coded", "position": coded.vocabulary, "values": values, "fold": False}
    text = column.text
    return {"kind": "text", "position": text.text, "values": [], "fold": text.fold == _FOLDED}


def _output(output: schema_pb2.OutputSchema) -> scorewire_native.Output:
    texts = output.kind == schema_pb2.OUTPUT_KIND_TEXT
    return {"name": output.name, "width": output.width, "texts": texts}


def _checks(version: LoadedVersion) -> Iterator[scorewire_native.Check]:
    """The checks of each feature, in schema order, with the errors of rows that fail them."""
    schema, coding = version.manifest.schema, version.manifest.coding
    ranges = iter(number_ranges(schema, coding))
    numbers = texts = 0
    for feature in schema.features:
        name = feature.name
        messages = {errors_pb2.ERROR_REASON_MISSING_VALUE: missing_message(name)}
        number: scorewire_native.NumberCheck | None = None
        text: scorewire_native.TextCheck | None = None
        if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
            bounds = next(ranges)
            messages[errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE] = bounds.message
            messages[errors_pb2.ERROR_REASON_NUMBER_NOT_WHOLE] = whole_message(name)
            number = {"position": numbers, "low": bounds.low, "high": bounds.high, "whole": feature.whole}
            numbers += 1
        else:
            known = [i for i, each in enumerate(coding.vocabularies) if each.text == texts]
            messages[errors_pb2.ERROR_REASON_UNKNOWN_TEXT] = unknown_message(name)
            text = {"position": texts, "vocabularies": [] if feature.unknown_allowed else known}
            texts += 1
        refusals = _refusals(name, messages)
        typed = [
            version.typed.error(row_error(each)).SerializeToString() if each else b"" for each in refusals
        ]
        yield {
            "number": number,
            "text": text,
            "missing_allowed": feature.missing_allowed,
            "refusals": refusals,
            "typed_refusals": typed,
        }


def _refusals(feature: str, messages: Mapping[Reason, str]) -> list[bytes]:
    """For each of ROW_REASONS the bytes of a RowError without its first field, the row.

    Empty for a reason that the feature does not have.
    """

    def refusal(reason: Reason) -> bytes:
        error = prediction_pb2.RowError(reason=reason, feature=feature, message=messages[reason])
        return error.SerializeToString()

    return [refusal(reason) if reason in messages else b"" for reason in ROW_REASONS]
