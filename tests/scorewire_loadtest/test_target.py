from __future__ import annotations

import pytest

from scorewire import TLS
from scorewire_loadtest.target import Target
from scorewire_loadtest.transport import UnaryTransport
from tests.scorewire_loadtest.fake_server import FakeServer, serving
from tests.scorewire_loadtest.test_transport import a_call


@pytest.mark.parametrize(
    ("address", "endpoints"),
    [
        ("scores.example", [("scores.example", 8500)]),
        ("scores.example:80", [("scores.example", 80)]),
        ("::1", [("::1", 8500)]),
        ("[::1]:80", [("::1", 80)]),
        ("dns:///scores.example:80", [("scores.example", 80)]),
        ("ipv4:10.0.0.1:80,10.0.0.2:81", [("10.0.0.1", 80), ("10.0.0.2", 81)]),
        ("ipv6:[::1]:80,[::2]:80", [("::1", 80), ("::2", 80)]),
        ("a.example,b.example:80", [("a.example", 8500), ("b.example", 80)]),
        ("unix:/tmp/s", []),
        ("unix-abstract:s", []),
        ("xds:///scores", []),
    ],
)
def test_an_address_is_what_the_sdk_takes(address: str, endpoints: list[tuple[str, int]]) -> None:
    assert Target(address).endpoints() == endpoints


@pytest.mark.parametrize("address", ["", "http://scores.example", "scores.example:port", "a,"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="an address is HOST or HOST:PORT"):
        Target(address).endpoints()


@pytest.mark.parametrize(
    ("target", "authority", "name"),
    [
        (Target("scores.example:80"), "scores.example:80", "scores.example"),
        (Target("[::1]:80", TLS()), "[::1]:80", "::1"),
        (Target("10.0.0.1:80", TLS(server_name="scores.example")), "scores.example", "scores.example"),
        (Target("unix:/tmp/s"), "localhost", "localhost"),
    ],
)
def test_the_authority_is_that_of_the_address_or_of_tls(target: Target, authority: str, name: str) -> None:
    assert (target.authority(), target.server_name()) == (authority, name)


async def test_connections_in_python_go_to_several_servers_in_turn(fake_server: FakeServer) -> None:
    with serving(fake_server.bundle) as other:
        target = Target(f"{fake_server.address},{other.address}")
        transport = UnaryTransport(target, connections=2, timeout_s=10.0)
        try:
            for _ in range(4):
                assert (await transport.call(a_call(fake_server.bundle))).code == "OK"
        finally:
            await transport.close()
        assert (len(fake_server.requests), len(other.requests)) == (2, 2)
