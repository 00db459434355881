from __future__ import annotations

import random

import pytest

from scorewire_contract.schema import InvalidNameError, Version, check_model_name, fingerprint
from scorewire_proto.v1 import schema_pb2

# The example of semver.org, section 11, and further versions, lowest first.
ASCENDING = [
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0+build.1",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0-0",
    "2.0.0",
]


def test_versions_are_ordered_as_semver_says() -> None:
    shuffled = random.Random(0).sample(ASCENDING, len(ASCENDING))
    assert [v.text for v in sorted(Version(text) for text in shuffled)] == ASCENDING


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "latest", "1.0.0 ", "1" * 70],
)
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(InvalidNameError, match="semantic"):
        Version(text)


def test_numbers_that_a_64_bit_client_cannot_hold_are_no_versions() -> None:
    largest = 2**63 - 1
    assert Version(f"{largest}.{largest}.{largest}").major == largest
    for text in (f"{largest + 1}.0.0", f"0.{2**64}.0", "0.0.99999999999999999999999"):
        with pytest.raises(InvalidNameError, match=f"number above {largest}"):
            Version(text)


def test_prerelease_is_told_from_release() -> None:
    assert Version("1.0.0-rc.1").is_prerelease
    assert not Version("1.0.0+rc").is_prerelease


@pytest.mark.parametrize("name", ["", "Sum", "1st", "a b", "../a", "a.b", "a" * 64, "ä"])
def test_bad_model_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="model name"):
        check_model_name(name)


def _schema() -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    schema.features.add(name="a", kind=schema_pb2.FEATURE_KIND_NUMBER)
    schema.features.add(name="b", kind=schema_pb2.FEATURE_KIND_TEXT)
    schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    return schema


def test_fingerprint_ignores_what_new_data_changes() -> None:
    schema = _schema()
    before = fingerprint(schema)
    schema.features[0].maximum = 9
    schema.features[1].vocabulary_size = 7
    schema.features[1].missing_allowed = True
    assert fingerprint(schema) == before


@pytest.mark.parametrize("change", ["name", "kind", "order", "output", "width", "labels"])
def test_fingerprint_changes_with_what_callers_must_know(change: str) -> None:
    schema = _schema()
    before = fingerprint(schema)
    if change == "name":
        schema.features[0].name = "c"
    elif change == "kind":
        schema.features[0].kind = schema_pb2.FEATURE_KIND_TEXT
    elif change == "order":
        first, second = list(schema.features)
        del schema.features[:]
        schema.features.extend([second, first])
    elif change == "output":
        schema.outputs[0].name = "score"
    elif change == "width":
        schema.outputs[0].width = 2
    else:
        schema.outputs[0].class_labels.append("yes")
    assert fingerprint(schema) != before


def test_fingerprint_cannot_be_confused_by_separators() -> None:
    one, two = schema_pb2.Schema(), schema_pb2.Schema()
    one.features.add(name='a",1],["b', kind=1)
    two.features.add(name="a", kind=1)
    two.features.add(name="b", kind=1)
    assert fingerprint(one) != fingerprint(two)
