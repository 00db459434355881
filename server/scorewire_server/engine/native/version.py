"""A loaded version as the native engine takes it: plain tuples, and the refusals of rows as bytes."""

from __future__ import annotations

from collections.abc import Iterator

import scorewire_native
from scorewire_contract.coding import missing_message, range_message, unknown_message
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, prediction_pb2, schema_pb2
from scorewire_server.engine.native.session import NativeGraph
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.errors import Reason

# The element types of manifests by their numbers in ONNX.
_ELEMENTS = {
    manifest_pb2.ELEMENT_TYPE_FLOAT: 1,
    manifest_pb2.ELEMENT_TYPE_STRING: 8,
    manifest_pb2.ELEMENT_TYPE_DOUBLE: 11,
}
_FOLDED = manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP
_NUMBER, _CODED, _TEXT = range(3)


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
        (version.scorer.number_count, version.scorer.text_count),
        [(each.text, each.fold == _FOLDED, list(each.texts)) for each in coding.vocabularies],
        [(each.name, _ELEMENTS[each.type], list(map(_column, each.columns))) for each in coding.inputs],
        [(output.name, output.width) for output in schema.outputs],
        list(_checks(schema, coding)),
    )


def _column(column: manifest_pb2.Column) -> scorewire_native.Column:
    source = column.WhichOneof("source")
    if source == "number":
        return _NUMBER, column.number, [], False
    if source == "coded":
        coded = column.coded
        # The unknown text's value stands last, where the index of unknown texts finds it.
        return _CODED, coded.vocabulary, [*coded.values, coded.unknown_value], False
    return _TEXT, column.text.text, [], column.text.fold == _FOLDED


def _checks(schema: schema_pb2.Schema, coding: manifest_pb2.Coding) -> Iterator[scorewire_native.Check]:
    """What each feature refuses, in schema order."""
    numbers = texts = 0
    for feature in schema.features:
        name = feature.name
        missing = _refusal(errors_pb2.ERROR_REASON_MISSING_VALUE, name, missing_message(name))
        if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
            limit = feature.magnitude_limit
            beyond = _refusal(errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE, name, range_message(name, limit))
            yield False, numbers, limit, [], feature.missing_allowed, missing, beyond
            numbers += 1
        else:
            known = [i for i, each in enumerate(coding.vocabularies) if each.text == texts]
            unknown = _refusal(errors_pb2.ERROR_REASON_UNKNOWN_TEXT, name, unknown_message(name))
            must_know = [] if feature.unknown_allowed else known
            yield True, texts, 0.0, must_know, feature.missing_allowed, missing, unknown
            texts += 1


def _refusal(reason: Reason, feature: str, message: str) -> bytes:
    """A RowError but for its row, which is its first field."""
    return prediction_pb2.RowError(reason=reason, feature=feature, message=message).SerializeToString()
