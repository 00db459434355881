"""Settings from flags and variables."""

from __future__ import annotations

from dataclasses import fields

import pytest
from scorewire_gateway.settings import Settings, describe, read_settings

from scorewire_contract.service.settings import SettingError


def test_a_flag_wins_over_its_variable() -> None:
    environment = {
        "SCOREWIRE_GATEWAY_SERVER": "a:1",
        "SCOREWIRE_GATEWAY_TIMEOUT": "3",
        "SCOREWIRE_LISTEN": "x",
    }
    settings = read_settings({"server": "b:2", "timeout": None}, environment)
    assert (settings.server, settings.timeout, settings.listen) == ("b:2", 3.0, "127.0.0.1:8080")


def test_the_server_must_be_given() -> None:
    with pytest.raises(SettingError, match="--server is missing"):
        read_settings({}, {})


def test_names_are_separated_by_commas() -> None:
    settings = read_settings({"server": "a:1", "hosts": "A.example, [::1]"}, {})
    assert settings.hosts == ("a.example", "::1")


@pytest.mark.parametrize("hosts", ["a.example:8443", "[::1]:8080", "https://a.example", "a b", "a,,b", ""])
def test_a_name_that_no_host_has_is_refused(hosts: str) -> None:
    with pytest.raises(SettingError, match="--hosts is .*; it must be names of hosts without ports"):
        read_settings({"server": "a:1", "hosts": hosts}, {})


def test_every_setting_is_described_with_its_variable() -> None:
    described = describe()
    assert list(described) == [each.name for each in fields(Settings)]
    for name, each in described.items():
        assert each.variable == f"SCOREWIRE_GATEWAY_{name.upper()}"
        assert each.purpose.endswith(".")


def test_every_default_can_be_written_as_a_text() -> None:
    described = describe()
    texts = {name: each.default for name, each in described.items() if each.default}
    assert read_settings({"server": "a:1", **texts}, {}) == Settings(server="a:1")


@pytest.mark.parametrize(
    ("listen", "is_loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("a.b:1", False)],
)
def test_a_loopback_address_is_known(listen: str, is_loopback: bool) -> None:
    assert Settings(server="a:1", listen=listen).is_loopback == is_loopback
