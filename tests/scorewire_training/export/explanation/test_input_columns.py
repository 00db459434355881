"""Columns of a graph's inputs are the features that the coding fills them from."""

from __future__ import annotations

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.explanation.input_columns import input_features


def manifest() -> manifest_pb2.Manifest:
    """Features text, number, text, number; a vocabulary of the second text and a bag of the first."""
    made = manifest_pb2.Manifest()
    for kind in (schema_pb2.FEATURE_KIND_TEXT, schema_pb2.FEATURE_KIND_NUMBER) * 2:
        made.schema.features.add(kind=kind)
    made.coding.vocabularies.add(text=1, texts=["x", "y"])
    made.coding.bags.add(text=0)
    return made


def test_numbers_and_texts_are_counted_apart() -> None:
    made = manifest()
    numbers = made.coding.inputs.add(name="features")
    numbers.columns.add(number=1)
    numbers.columns.add(number=0)
    numbers.columns.add().coded.CopyFrom(
        manifest_pb2.CodedText(vocabulary=0, values=[0.0, 1.0], unknown_value=0.0)
    )
    texts = made.coding.inputs.add(name="texts")
    texts.columns.add().text.text = 0
    assert input_features(made) == {
        "features": [frozenset({3}), frozenset({1}), frozenset({2})],
        "texts": [frozenset({0})],
    }


def test_a_text_that_always_becomes_the_same_number_is_no_feature() -> None:
    made = manifest()
    numbers = made.coding.inputs.add(name="features")
    numbers.columns.add().coded.CopyFrom(
        manifest_pb2.CodedText(vocabulary=0, values=[0.0, 0.0], unknown_value=0.0)
    )
    assert input_features(made) == {"features": [frozenset()]}


def test_the_entries_of_a_bag_are_its_text() -> None:
    made = manifest()
    made.coding.inputs.add(name="words").entries.bag = 0
    assert input_features(made) == {"words": frozenset({0})}
