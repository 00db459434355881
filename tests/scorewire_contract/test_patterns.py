"""Sets of models as an access file writes them."""

from __future__ import annotations

import pytest

from scorewire_contract.patterns import Patterns


@pytest.mark.parametrize(
    ("texts", "inside", "outside"),
    [
        ([], [], ["", "shop"]),
        (["shop"], ["shop"], ["shops", "sho", "SHOP", ""]),
        (["shop-*"], ["shop-", "shop-a"], ["shop", "a-shop-a"]),
        (["b", "a", "game-*", "play-*"], ["a", "b", "game-1", "play-1"], ["game", "c"]),
        (["*"], ["", "shop"], []),
    ],
)
def test_a_set_has_the_models_that_its_texts_describe(
    texts: list[str], inside: list[str], outside: list[str]
) -> None:
    patterns = Patterns.parse(texts)
    assert [model for model in inside + outside if patterns.match(model)] == inside
    assert bool(patterns) == bool(texts)
    assert patterns.everything == ("*" in texts)
    assert Patterns.parse(patterns.texts()) == patterns


def test_the_texts_of_a_set_are_in_order() -> None:
    assert Patterns.parse(["b", "game-*", "a"]).texts() == ["a", "b", "game-*"]
