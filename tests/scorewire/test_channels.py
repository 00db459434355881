from __future__ import annotations

import json
import re
import socket
import threading
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

import scorewire
from scorewire import TLS, Code, UnavailableError
from scorewire._channels import ChannelSettings
from scorewire.addresses import Address
from scorewire.testing import FakeServer
from tests.certificates import SERVER_NAME, Certificates
from tests.fake_models import SUM
from tests.scorewire.test_client import wait_until


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
        ({"address": []}, "HOST:PORT"),
        ({"address": ["10.0.0.1", "10.0.0.2"], "tls": True}, "server_name"),
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
    settings = ChannelSettings(address=Address("a:1"), count=1, tls=TLS(server_name="b"), max_message_bytes=5)
    options = dict(settings.options())
    assert options["grpc.keepalive_time_ms"] >= 30_000
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == 5
    assert options["grpc.ssl_target_name_override"] == "b"
    config = json.loads(options["grpc.service_config"])
    assert "loadBalancingConfig" not in config
    # The SDK makes calls again itself, within a budget that grpc would not know of.
    assert "methodConfig" not in config
    # DNS is asked again soon after a connection has ended.
    assert options["grpc.dns_min_time_between_resolutions_ms"] <= 5_000


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


def test_tls_on_one_side_only_is_told(connect: Any, certificates: Certificates) -> None:
    trusting = TLS.from_files(root_certificates=certificates.authority)
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    with FakeServer(SUM, credentials=credentials) as secure, FakeServer(SUM) as plain:
        assert connect(secure.address, tls=trusting).predict("sum", {"x": 2}).score == 2
        for address, tls, told in (
            (secure.address, None, "uses TLS, and this client does not: connect with it (tls=True, --tls)"),
            (plain.address, True, "does not use TLS, and this client does: connect without it"),
            (
                secure.address,
                True,
                "is not trusted (unable to get local issuer certificate): name the authority",
            ),
            (secure.address, replace(trusting, server_name="other.example"), "is for another name than that"),
        ):
            for call in (
                lambda client: client.predict("sum", {"x": 2}),
                lambda client: client.predict_stream("sum", [{"x": 2}]),
                lambda client: client.models(),
            ):
                with pytest.raises(UnavailableError, match=re.escape(told)) as caught:
                    call(connect(address, tls=tls))
                assert address in str(caught.value)


def test_a_server_that_closes_connections_is_not_said_to_use_tls(connect: Any) -> None:
    def close(listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closer = threading.Thread(target=close, args=(listener,))
        closer.start()
        port = listener.getsockname()[1]
        with pytest.raises(UnavailableError, match="failed to connect"):
            connect(f"127.0.0.1:{port}").predict("sum", {"x": 2})
        listener.shutdown(socket.SHUT_RDWR)
        closer.join()


@pytest.mark.parametrize("tls", [False, None])
def test_without_tls_there_is_none(connect: Any, server: FakeServer, tls: bool | None) -> None:
    assert connect(server.address, tls=tls).predict("sum", {"x": 2}).score == 2


# Several servers


def scores_of(client: Any, count: int) -> list[float]:
    return [client.predict("sum", {"x": i}).score for i in range(count)]


def predicts(server: FakeServer) -> int:
    return sum(call.method == "Predict" for call in server.calls)


def of_two_kinds(addresses: list[str]) -> list[str]:
    """The last address in IPv6; the client must reach both kinds."""
    host, port = addresses[-1].split(":")
    return [*addresses[:-1], f"[::ffff:{host}]:{port}"]


@pytest.mark.parametrize(
    "shape", [tuple, ",".join, lambda addresses: f"ipv4:{','.join(addresses)}", of_two_kinds]
)
def test_calls_are_spread_over_several_servers(connect: Any, shape: Any) -> None:
    with FakeServer(SUM) as first, FakeServer(SUM) as second:
        client = connect(shape([first.address, second.address]))
        assert wait_until(lambda: scores_of(client, 2) == [0, 1] and predicts(first) and predicts(second))
        before = predicts(first), predicts(second)
        assert scores_of(client, 20) == list(range(20))
        assert (predicts(first) - before[0], predicts(second) - before[1]) == (10, 10)


def test_a_server_that_is_away_is_left_out_until_it_is_back(connect: Any) -> None:
    with FakeServer(SUM) as first:
        second = FakeServer(SUM)
        client = connect([first.address, second.address])
        assert wait_until(lambda: scores_of(client, 2) == [0, 1] and predicts(second))
        second.stop()
        # No call fails, neither the one that finds out nor those after it.
        assert scores_of(client, 50) == list(range(50))
        with FakeServer(SUM, port=second.port) as back:
            assert wait_until(lambda: scores_of(client, 1) == [0] and predicts(back))


def test_a_call_that_one_server_cannot_take_is_tried_on_another(connect: Any) -> None:
    with FakeServer(SUM) as first, FakeServer(SUM) as second:
        client = connect([first.address, second.address])
        assert wait_until(lambda: scores_of(client, 2) == [0, 1] and predicts(first) and predicts(second))
        first.fail(Code.UNAVAILABLE, times=20, reason="DRAINING")
        assert scores_of(client, 10) == list(range(10))
        assert len(client.predict_stream("sum", [{"x": 1}] * 10)) == 10


def test_several_names_are_looked_up(connect: Any, server: FakeServer) -> None:
    address = f"localhost:{server.port}"
    assert connect([address, server.address]).predict("sum", {"x": 2}).score == 2
    with pytest.raises(UnavailableError, match="no address is found for the host 'nowhere.invalid'"):
        connect([address, "nowhere.invalid"]).predict("sum", {"x": 2})


def test_calls_are_spread_over_what_dns_has_for_a_name(connect: Any, server: FakeServer) -> None:
    client = connect(f"dns:///localhost:{server.port}")
    assert scores_of(client, 3) == [0, 1, 2]
    config = json.loads(dict(client.client._settings.options())["grpc.service_config"])
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


def test_several_servers_have_one_name_in_their_certificates(
    connect: Any, certificates: Certificates
) -> None:
    credentials = grpc.ssl_server_credentials([certificates.server_pair()])
    authority = certificates.authority
    with (
        FakeServer(SUM, credentials=credentials) as first,
        FakeServer(SUM, credentials=credentials) as second,
    ):
        for addresses, name in (
            ([first.address, second.address], SERVER_NAME),
            ([f"localhost:{first.port}", f"localhost:{second.port}"], None),
        ):
            tls = TLS.from_files(root_certificates=authority, server_name=name)
            assert connect(addresses, tls=tls).predict("sum", {"x": 2}).score == 2


def test_a_certificate_comes_with_its_key() -> None:
    with pytest.raises(ValueError, match="come together"):
        TLS(certificate_chain=b"x")
