"""A tracestate is passed on only if it is one; tests/conformance has the rules of traceparent."""

from __future__ import annotations

import pytest

from scorewire_server.engine.trace_context import valid_state

MEMBERS_32 = ",".join(f"k{n}=v" for n in range(32))


@pytest.mark.parametrize(
    "state",
    ["a=1", "a=1,b=2", "0a_-*/=!", "tenant@system=x", f"{'k' * 256}=v", f"k={'v' * 256}", MEMBERS_32],
)
def test_a_valid_tracestate_is_kept(state: str) -> None:
    assert valid_state(state) == state


@pytest.mark.parametrize(
    ("state", "kept"),
    [("a=1 , b=2", "a=1,b=2"), ("\ta=1,,b=2,", "a=1,b=2"), ("", ""), (" , ", ""), ("a= 1 2", "a= 1 2")],
)
def test_space_around_members_and_empty_members_are_left_out(state: str, kept: str) -> None:
    assert valid_state(state) == kept


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1,a=2",
        "a=1=2",
        "a b=1",
        "ä=1",
        "a=ä",
        "a=\x7f",
        "a@B=1",
        "@b=1",
        "a@=1",
        "a@b@c=1",
        f"{'k' * 257}=v",
        f"k={'v' * 257}",
        f"a@{'b' * 15}=1",
        f"{MEMBERS_32},more=1",
    ],
)
def test_a_tracestate_that_is_not_valid_is_left_out(state: str) -> None:
    assert valid_state(state) == ""
