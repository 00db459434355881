from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

import scorewire_contract
from scorewire_contract.coding import RowCoder
from scorewire_contract.unicode import characters, versions
from scorewire_contract.words import MAX_NGRAM, MAX_WIDTH, Bag, hash_place, murmur3
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2

ROOT = Path(__file__).resolve().parents[2]
# Letters that are new in Unicode 15.0 and 15.1, and one that loses an accent.
NAG_MUNDARI, IDEOGRAPH, MODIFIER = "\U0001e4d0", "\U0002ebf0", "\U0001e030"


_ROW = manifest_pb2.BagEntries(part=manifest_pb2.ENTRY_PART_ROW)


def _bag(**changes: object) -> manifest_pb2.Bag:
    """A bag that splits words as scikit-learn does, and counts "sea" and "spa"."""
    bag = manifest_pb2.Bag(
        fold=manifest_pb2.TEXT_FOLD_NONE,
        unicode_version="14.0.0",
        lowercase=True,
        accents=manifest_pb2.ACCENTS_KEPT,
        analyzer=manifest_pb2.ANALYZER_WORDS,
        tokens=manifest_pb2.Tokens(characters=manifest_pb2.CharacterSet(word=True), shortest=2),
        shortest=1,
        longest=1,
        terms=["sea", "spa"],
    )
    bag.MergeFrom(manifest_pb2.Bag(**changes))  # type: ignore[arg-type]
    return bag


def _coding() -> manifest_pb2.Coding:
    """A bag for the words of the second text."""
    coding = manifest_pb2.Coding(bags=[_bag(text=1)])
    for name, part, element in (
        ("rows", manifest_pb2.ENTRY_PART_ROW, manifest_pb2.ELEMENT_TYPE_INT64),
        ("places", manifest_pb2.ENTRY_PART_PLACE, manifest_pb2.ELEMENT_TYPE_INT64),
        ("counts", manifest_pb2.ENTRY_PART_COUNT, manifest_pb2.ELEMENT_TYPE_DOUBLE),
    ):
        coding.inputs.add(name=name, type=element).entries.part = part
    return coding


def _schema() -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name in ("title", "review"):
        schema.features.add(
            name=name,
            kind=schema_pb2.FEATURE_KIND_TEXT,
            missing_allowed=name == "review",
            unknown_allowed=True,
        )
    return schema


def test_counts_are_ordered_by_row_and_place_and_filled_up_to_a_power_of_two() -> None:
    rows, places, counts = Bag(_bag(), 1).count(["spa SEA spa", "", "other", "sea"])
    assert rows.tolist() == [0, 0, 3] + [0] * 13
    assert places.tolist() == [0, 1, 0] + [2] * 13
    assert counts.tolist() == [1, 2, 1] + [0] * 13
    assert [len(part) for part in Bag(_bag(), 1).count(["sea"] * 17)] == [32] * 3


def test_rows_with_an_error_are_not_counted() -> None:
    coded = RowCoder(_schema(), _coding()).code(3, np.zeros(0), ["", "sea", "a", "spa sea", "b", "SPA"])
    assert [error.feature for error in coded.errors] == ["title"]
    assert coded.feeds["rows"][:3].tolist() == [0, 0, 1]
    assert coded.feeds["places"][:4].tolist() == [0, 1, 1, 2]
    assert coded.feeds["counts"][:4].tolist() == [1, 1, 1, 0]


def test_hashes_are_those_of_scikit_learn() -> None:
    assert [murmur3(text.encode()) for text in ("", "foo", "words")] == [0, -156908512, -1964897834]
    assert [hash_place(hashed, 10) for hashed in (7, -156908512, -(2**31))] == [7, 2, 8]
    bag = _bag(hashing=manifest_pb2.Hashing(width=10, alternate_sign=True))
    del bag.terms[:]
    _, places, counts = Bag(bag, 1).count(["foo foo words"])
    assert (places[:2].tolist(), counts[:2].tolist()) == ([2, 4], [-2, -1])


def test_a_character_counts_as_the_version_of_unicode_has_it() -> None:
    found = {
        version: [
            Bag(_bag(unicode_version=version, terms=[f"{c}{c}"]), 1).count([f"{c}{c}"]).counts[0]
            for c in (NAG_MUNDARI, IDEOGRAPH, "\u00e9")
        ]
        for version in versions()
    }
    assert found == {"14.0.0": [0, 0, 1], "15.0.0": [1, 0, 1], "15.1.0": [1, 1, 1]}
    assert ord(MODIFIER) not in characters("14.0.0").stripped
    assert characters("15.0.0").stripped[ord(MODIFIER)] == "\u0430"


def test_this_python_has_a_known_version_of_unicode() -> None:
    assert unicodedata.unidata_version in versions()


def test_both_engines_have_the_same_tables() -> None:
    own = Path(scorewire_contract.__file__).with_name("unicode.txt")
    assert own.read_bytes() == (ROOT / "server/native/src/rows/words/unicode.txt").read_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": 1}, "text feature 1 of 1"),
        ({"unicode_version": "3.2.0"}, "known are 14.0.0"),
        ({"shortest": 2}, "n-grams of 2 to 1"),
        ({"longest": MAX_NGRAM + 1}, "n-grams of 1 to 17"),
        ({"fold": 9}, "text fold 9"),
        ({"accents": 9}, "accents 9"),
        ({"analyzer": 9}, "analyzer 9"),
        ({"terms": ["sea"]}, "distinct terms"),
        ({"hashing": manifest_pb2.Hashing(width=5)}, "or both"),
        ({"tokens": {"characters": {"starts": [5]}}}, "of no characters"),
        ({"tokens": {"characters": {"starts": [5], "ends": [4]}}}, "that there are not"),
        ({"tokens": {"characters": {"starts": [5], "ends": [0x110000]}}}, "that there are not"),
    ],
    ids=str,
)
def test_bags_that_contradict_themselves_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Bag(_bag(**changes), 1)


def test_bags_without_places_or_with_too_many_are_refused() -> None:
    bag = _bag()
    del bag.terms[:]
    with pytest.raises(ValueError, match="neither distinct terms"):
        Bag(bag, 1)
    bag.hashing.width = MAX_WIDTH + 1
    with pytest.raises(ValueError, match="more than"):
        Bag(bag, 1)


def test_inputs_that_contradict_their_bag_are_refused() -> None:
    for change, reason in (
        (lambda coding: coding.inputs[0].columns.add(), "columns besides"),
        (
            lambda coding: coding.inputs[0].entries.MergeFrom(manifest_pb2.BagEntries(bag=1)),
            "bag that is not there",
        ),
        (lambda coding: coding.inputs[2].entries.MergeFrom(_ROW), "one of another type"),
        (lambda coding: coding.MergeFrom(manifest_pb2.Coding(row_by_row=True)), "one row in a run"),
    ):
        coding = _coding()
        change(coding)
        with pytest.raises(ValueError, match=reason):
            RowCoder(_schema(), coding)
