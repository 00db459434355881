from __future__ import annotations

from hashlib import sha256
from time import time

import pytest

from scorewire_contract.patterns import Patterns
from scorewire_server.callers import may_scrape
from scorewire_server.engine.access import MAX_TOKEN_BYTES, AccessTable, Grant, Principal, Right

ALL, SOME = Patterns(prefixes=("",)), Patterns(frozenset({"shop"}), ("game-",))
KEY = "scorewire_00000000_" + "0" * 64


def _table(rights: dict[Right, Patterns], key: str = KEY, expires: float | None = None) -> AccessTable:
    principal = Principal("scraper", rights)
    return AccessTable(
        principals={"scraper": principal},
        keys={sha256(key.encode("latin-1")).digest(): Grant(principal, expires)},
    )


OBSERVER = _table({Right.OBSERVE: ALL})


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}"])
def test_the_key_of_who_observes_all_models_will_do(value: str) -> None:
    assert may_scrape(OBSERVER, [value])


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [KEY],
        [f"Bearer  {KEY}"],
        [f"Bearer\t{KEY}"],
        [f"Basic {KEY}"],
        [f"Bearer {KEY}0"],
        [f"Bearer {KEY[:-1]}"],
        [f"Bearer {KEY.upper()}"],
        [f"Bearer {KEY}", f"Bearer {KEY}"],
        [f"Bearer {KEY}, Bearer {KEY}"],
        ["Bearer e30.e30.e30"],
        ["Bearer \xff\x00"],
    ],
)
def test_anything_else_will_not(values: list[str]) -> None:
    assert not may_scrape(OBSERVER, values)


def test_a_token_that_is_too_long_is_refused_unread() -> None:
    for length, will_do in ((MAX_TOKEN_BYTES, True), (MAX_TOKEN_BYTES + 1, False)):
        key = "x" * length
        assert may_scrape(_table({Right.OBSERVE: ALL}, key), [f"Bearer {key}"]) == will_do


@pytest.mark.parametrize(
    "rights",
    [
        {},
        {Right.OBSERVE: Patterns()},
        {Right.OBSERVE: SOME},
        {Right.PREDICT: ALL, Right.CONTROL: ALL},
    ],
)
def test_other_rights_will_not_do(rights: dict[Right, Patterns]) -> None:
    assert not may_scrape(_table(rights), [f"Bearer {KEY}"])


def test_a_key_that_has_expired_will_not_do() -> None:
    rights = {Right.OBSERVE: ALL}
    assert may_scrape(_table(rights, expires=time() + 60), [f"Bearer {KEY}"])
    assert not may_scrape(_table(rights, expires=time() - 1), [f"Bearer {KEY}"])
