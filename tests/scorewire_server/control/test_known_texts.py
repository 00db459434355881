"""Only short vocabularies are told to callers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_server.control.known_texts import MAX_BYTES, MAX_TEXT_BYTES, MAX_TEXTS, known_texts


def _manifest(*vocabularies: tuple[int, Sequence[str]]) -> manifest_pb2.Manifest:
    """A manifest of a number, the texts a and b, and these vocabularies."""
    manifest = manifest_pb2.Manifest()
    manifest.schema.features.add(name="n", kind=schema_pb2.FEATURE_KIND_NUMBER)
    for name in ("a", "b"):
        manifest.schema.features.add(name=name, kind=schema_pb2.FEATURE_KIND_TEXT)
    for text, texts in vocabularies:
        manifest.coding.vocabularies.add(text=text, texts=texts)
    return manifest


def test_a_short_vocabulary_is_told_without_the_missing_text() -> None:
    (told,) = known_texts(_manifest((1, ["", "de", "pe"])))
    assert (told.feature, list(told.texts)) == ("b", ["de", "pe"])


@pytest.mark.parametrize(
    "vocabularies",
    [
        [(0, [""])],
        [(0, [])],
        [(0, [f"name {i}" for i in range(MAX_TEXTS + 1)])],
        [(0, ["x" * (MAX_TEXT_BYTES + 1)])],
        [(0, ["a"]), (0, ["A"])],
    ],
    ids=["only missing", "empty", "long", "long text", "two vocabularies"],
)
def test_other_vocabularies_are_not_told(vocabularies: list[tuple[int, list[str]]]) -> None:
    assert list(known_texts(_manifest(*vocabularies))) == []


def test_the_longest_vocabulary_that_is_told() -> None:
    texts = ["", *(f"name {i}" for i in range(MAX_TEXTS))]
    (told,) = known_texts(_manifest((0, texts)))
    assert list(told.texts) == texts[1:]


def test_all_texts_together_are_bounded() -> None:
    manifest = manifest_pb2.Manifest()
    texts = [f"{i:0{MAX_TEXT_BYTES}}" for i in range(MAX_TEXTS)]
    for position in range(10):
        manifest.schema.features.add(name=f"f{position}", kind=schema_pb2.FEATURE_KIND_TEXT)
        manifest.coding.vocabularies.add(text=position, texts=texts)
    told = list(known_texts(manifest))
    assert len(told) == MAX_BYTES // (MAX_TEXTS * MAX_TEXT_BYTES)
