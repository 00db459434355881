"""The texts that a model knows, as far as callers may learn them.

People who fill in a form want to choose from a list. But a long vocabulary may have the
names of people who were in the training data, so only short vocabularies are told.
"""

from __future__ import annotations

from collections.abc import Iterator

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import models_pb2, schema_pb2

MAX_TEXTS = 100
MAX_TEXT_BYTES = 200
# For all features of a model together.
MAX_BYTES = 65_536


def known_texts(manifest: manifest_pb2.Manifest) -> Iterator[models_pb2.KnownTexts]:
    """Yield the known texts of each feature with one short vocabulary, in schema order."""
    names = [each.name for each in manifest.schema.features if each.kind == schema_pb2.FEATURE_KIND_TEXT]
    vocabularies = manifest.coding.vocabularies
    left = MAX_BYTES
    for position, name in enumerate(names):
        found = [each.texts for each in vocabularies if each.text == position]
        if len(found) != 1 or len(found[0]) > MAX_TEXTS + 1:
            continue
        texts = [text for text in found[0] if text]
        sizes = [len(text.encode()) for text in texts]
        if not texts or len(texts) > MAX_TEXTS or max(sizes) > MAX_TEXT_BYTES or sum(sizes) > left:
            continue
        left -= sum(sizes)
        yield models_pb2.KnownTexts(feature=name, texts=texts)
