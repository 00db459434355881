"""Which requests are answered, and the headers that protect pages."""

from __future__ import annotations

import httpx
import pytest
from scorewire_gateway.security import HEADERS, host_of

from scorewire.testing import FakeServer
from tests.scorewire_gateway.gateways import gateway_thread


@pytest.mark.parametrize("path", ["/health", "/models", "/nothing", "/docs", "/openapi.json"])
def test_every_answer_has_the_headers_that_protect_pages(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "Server" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "localhost.", "[::2]:80"]
)
def test_a_host_that_is_not_the_gateway_is_refused(http: httpx.Client, host: str) -> None:
    answer = http.get("/models", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["reason"] == "HOST_NOT_ALLOWED"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8080"])
def test_the_names_of_the_loopback_address_are_allowed(http: httpx.Client, host: str) -> None:
    assert http.get("/models", headers={"Host": host}).status_code == 200


def test_further_hosts_are_allowed_by_name(fake: FakeServer) -> None:
    with gateway_thread(fake.address, hosts=("gateway.example",)) as http:
        assert http.get("/models", headers={"Host": "gateway.example:443"}).status_code == 200
        assert http.get("/models", headers={"Host": "other.example"}).status_code == 421


def test_other_addresses_have_no_check_unless_hosts_are_named(fake: FakeServer) -> None:
    with gateway_thread(fake.address, listen="0.0.0.0:0") as http:
        port = http.base_url.port
        url = f"http://127.0.0.1:{port}/models"
        assert httpx.get(url, headers={"Host": "any.example"}, trust_env=False).status_code == 200


def test_a_page_of_another_origin_reads_nothing_unless_it_is_named(fake: FakeServer) -> None:
    with gateway_thread(fake.address, cors_origin=("https://shop.example",)) as http:
        answer = http.get("/models", headers={"Origin": "https://shop.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        answer = http.get("/models", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "content-type"
        answer = http.options("/models/churn:predict", headers=asked)
        assert answer.status_code == 200
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    ("authority", "host"),
    [("A.example:80", "a.example"), ("a", "a"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", ""), (":80", "")],
)
def test_the_host_of_a_host_header(authority: str, host: str) -> None:
    assert host_of(authority) == host
