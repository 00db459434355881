from __future__ import annotations

import itertools

import pytest

from scorewire_records.postgresql.identifiers import (
    MAX_BYTES,
    RESERVED,
    identifier,
    identifiers,
    table_name,
    view_name,
)

_LONG = "x" * 200


@pytest.mark.parametrize("name", ["feature_age", 'with "quotes"', "ÄÖÜ", "🙂", "a" * MAX_BYTES, " "])
def test_a_name_that_fits_stays(name: str) -> None:
    assert identifier(name) == name


@pytest.mark.parametrize("name", [_LONG, "🙂" * 16, "é" * 32, "a\0b"])
def test_a_name_that_does_not_fit_is_cut(name: str) -> None:
    short = identifier(name)
    assert len(short.encode()) <= MAX_BYTES
    assert "\0" not in short
    assert short[:1] == name[:1]


def test_names_with_a_common_beginning_stay_different() -> None:
    names = [f"{_LONG}{end}" for end in range(1000)]
    assert len(set(identifiers(names))) == len(names)


def test_a_name_that_looks_like_one_that_was_cut_stays_different() -> None:
    for names in itertools.permutations([_LONG, identifier(_LONG), "a"]):
        found = identifiers(names)
        assert len(set(found)) == 3
        assert all(len(each.encode()) <= MAX_BYTES for each in found)


def test_names_that_differ_by_case_stay_different() -> None:
    assert identifiers(["Age", "age", "AGE"]) == ["Age", "age", "AGE"]


def test_views_are_not_named_like_our_tables() -> None:
    models = ["churn", *RESERVED, *(f"{name}_records" for name in RESERVED), "m" * 63, f"{'m' * 55}_records"]
    views = [view_name(model) for model in models]
    assert views[0] == "churn"
    assert not RESERVED & set(views)
    assert len(set(views)) == len(models)


def test_names_of_partitions_fit() -> None:
    assert len(f"{table_name('m' * 63, 'columns')}_20261129") <= MAX_BYTES
    assert table_name("m" * 63, "columns") != table_name("m" * 63, "others")
    assert table_name("m" * 62 + "a", "columns") != table_name("m" * 62 + "b", "columns")
