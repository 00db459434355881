"""Which features the columns of a graph's inputs are."""

from __future__ import annotations

from collections.abc import Mapping

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.explanation.sources import Features


def input_features(manifest: manifest_pb2.Manifest) -> Mapping[str, list[Features] | Features]:
    """For each input of the graph, the features of each of its columns; of the whole input for words."""
    kinds = [feature.kind for feature in manifest.schema.features]
    numbers = [i for i, kind in enumerate(kinds) if kind == schema_pb2.FEATURE_KIND_NUMBER]
    texts = [i for i, kind in enumerate(kinds) if kind == schema_pb2.FEATURE_KIND_TEXT]
    coding = manifest.coding

    def of_column(column: manifest_pb2.Column) -> Features:
        source = column.WhichOneof("source")
        if source == "number":
            return frozenset({numbers[column.number]})
        if source == "text":
            return frozenset({texts[column.text.text]})
        coded = column.coded
        # Where every text becomes the same number, the column says nothing of the text.
        if all(value == coded.unknown_value for value in coded.values):
            return frozenset()
        return frozenset({texts[coding.vocabularies[coded.vocabulary].text]})

    found: dict[str, list[Features] | Features] = {}
    for each in coding.inputs:
        if each.HasField("entries"):
            found[each.name] = frozenset({texts[coding.bags[each.entries.bag].text]})
        else:
            found[each.name] = [of_column(column) for column in each.columns]
    return found
