from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

import scorewire
from scorewire import TLS, UnavailableError
from scorewire._channels import SERVICE_CONFIG, ChannelSettings
from scorewire.testing import FakeServer
from tests.certificates import SERVER_NAME, Certificates
from tests.scorewire.conftest import SUM


@pytest.mark.parametrize("count", [1, 3])
def test_channels_are_connections_of_their_own(connect: Any, server: FakeServer, count: int) -> None:
    client = connect(server.address, channels=count)
    for i in range(6):
        assert client.predict("sum", {"x": i}).score == i
    mine = [
        connection
        for connection in psutil.Process().net_connections(kind="tcp")
        if connection.raddr and connection.raddr.port == server.port and connection.status == "ESTABLISHED"
    ]
    assert len(mine) == count


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channels": 0}, "channels"),
        ({"max_message_bytes": 0}, "max_message_bytes"),
        ({"address": ""}, "HOST:PORT"),
    ],
)
def test_settings_out_of_range_are_refused(connect: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        connect(**({"address": "127.0.0.1:1"} | settings))


def test_messages_over_the_limit_are_refused(connect: Any, server: FakeServer) -> None:
    client = connect(server.address, max_message_bytes=1000)
    with pytest.raises(scorewire.ResourceExhaustedError):
        client.predict("text", {"word": "x" * 1000})
    assert client.predict("sum", np.ones((10, 2))).scores.tolist() == [2] * 10


def test_channels_keep_to_the_servers_rules() -> None:
    settings = ChannelSettings(address="a:1", count=1, tls=TLS(server_name="b"), max_message_bytes=5)
    options = dict(settings.options())
    assert options["grpc.keepalive_time_ms"] >= 30_000
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == 5
    assert options["grpc.ssl_target_name_override"] == "b"
    policy = json.loads(SERVICE_CONFIG)["methodConfig"][0]["retryPolicy"]
    assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert policy["maxAttempts"] == 3


def test_tls_secures_both_sides(connect: Any, certificates: Certificates) -> None:
    authority = certificates.authority.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [certificates.server_pair()], root_certificates=authority, require_client_auth=True
    )
    with FakeServer(SUM, credentials=credentials) as server:
        tls = TLS.from_files(
            root_certificates=certificates.authority,
            certificate_chain=certificates.client,
            private_key=certificates.client_key,
            server_name=SERVER_NAME,
        )
        assert connect(server.address, tls=tls).predict("sum", {"x": 2}).score == 2
        for wrong in (
            None,
            TLS(root_certificates=authority, server_name=SERVER_NAME),
            replace(tls, root_certificates=None),
            replace(tls, server_name="other.example"),
        ):
            with pytest.raises(UnavailableError):
                connect(server.address, tls=wrong).predict("sum", {"x": 2})


def test_a_certificate_comes_with_its_key() -> None:
    with pytest.raises(ValueError, match="come together"):
        TLS(certificate_chain=b"x")
