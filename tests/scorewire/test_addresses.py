from __future__ import annotations

from typing import Any

import pytest

from scorewire.addresses import Address, Endpoint


@pytest.mark.parametrize(
    ("address", "uri", "is_spread"),
    [
        ("127.0.0.1:8500", "127.0.0.1:8500", False),
        ("scores.example.com", "scores.example.com:8500", False),
        (" localhost:1 ", "localhost:1", False),
        ("::1", "[::1]:8500", False),
        ("[::1]", "[::1]:8500", False),
        ("[2001:DB8::1]:90", "[2001:db8::1]:90", False),
        (["localhost:70"], "localhost:70", False),
        ("unix:/run/scorewire.sock", "unix:/run/scorewire.sock", False),
        ("unix:/run/a,b.sock", "unix:/run/a,b.sock", False),
        ("dns:///scores", "dns:///scores:8500", True),
        ("dns:///scores:70", "dns:///scores:70", True),
        ("dns:scores:70", "dns:scores:70", True),
        ("dns://10.0.0.53/scores", "dns://10.0.0.53/scores:8500", True),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", True),
        (["10.0.0.1", "10.0.0.2:2"], "ipv4:10.0.0.1:8500,10.0.0.2:2", True),
        ("10.0.0.1:1, 10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", True),
        (["::1", "[::2]:2"], "ipv6:[::1]:8500,[::2]:2", True),
        (["::1", "10.0.0.1"], "ipv6:[::1]:8500,[::ffff:10.0.0.1]:8500", True),
    ],
)
def test_addresses_are_written_in_several_ways(address: Any, uri: str, is_spread: bool) -> None:
    parsed = Address(address)
    assert (parsed.uri(), parsed.is_spread) == (uri, is_spread)


def test_only_names_of_several_addresses_are_looked_up() -> None:
    assert not Address("localhost").must_look_up
    parsed = Address(["localhost:1", "localhost:2"])
    assert parsed.must_look_up
    assert parsed.endpoints == (Endpoint("localhost", 1), Endpoint("localhost", 2))
    assert parsed.uri() == "ipv4:127.0.0.1:1,127.0.0.1:2"
    assert not parsed.must_look_up


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "HOST:PORT, not an empty text"),
        (" ", "not an empty text"),
        ([], "not an empty text"),
        ("a,,b", "not an empty text"),
        (["a", ""], "not an empty text"),
        ([b"a", "b"], "a str, not bytes"),
        (None, "a str, not NoneType"),
        (8500, "a str, not int"),
        ("http://scores:8500", "not a URL like 'http://scores:8500': write 'scores:8500'$"),
        ("https://scores:8500/path", "write 'scores:8500', with tls=True$"),
        ("scores:", "port from 1 to 65535"),
        ("scores:http", "port from 1 to 65535"),
        ("scores:0", "port from 1 to 65535"),
        ("scores:65536", "port from 1 to 65535"),
        ("scores:" + "9" * 10_000, "port from 1 to 65535"),
        (":8500", "not ':8500'"),
        ("a b:8500", "not 'a b:8500'"),
        ("[::1:8500", "not"),
        ("[zz]:8500", "not"),
        ("scores/path", "not 'scores/path'"),
        ("user@scores", "not 'user@scores'"),
        ("a,unix:/run/scorewire.sock", "not"),
        (["dns:///a", "b"], "not"),
    ],
)
def test_what_is_no_address_is_refused(address: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Address(address)
