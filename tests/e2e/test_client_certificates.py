"""A server that asks clients for certificates (mTLS)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from cryptography import x509

from scorewire import TLS, Client, PermissionDeniedError, UnauthenticatedError, UnavailableError
from tests.bundles import expected_value, write_sum_bundle
from tests.certificates import Certificates, ClientAuthority, ClientCertificate, make_certificates
from tests.conformance.engines import ENGINES
from tests.conformance.wire import PREDICT_STREAM
from tests.processes import ServerProcess, run_command, serving, wait_until
from tests.scorewire_server.engine.running import MESSAGE

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
SCORE = expected_value([1.0, 2.0], "de")
# How servers end a handshake without a common version or cipher: by an alert, or as grpc does, by closing.
ALERTS = {"TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
CLOSED = {"UNEXPECTED_EOF_WHILE_READING", "ECONNRESET"}
PAST = datetime(2021, 2, 3, tzinfo=UTC)


class Asking:
    """A server that asks for certificates of an authority; its files can be replaced.

    Attributes:
        server: the server.
        authority: the authority at first.
    """

    def __init__(self, server: ServerProcess, made: Certificates, authority: ClientAuthority) -> None:
        self.server = server
        self.authority = authority
        self._made = made

    def client(self, shown: ClientCertificate | None) -> Client:
        """A client with a connection of its own that shows a certificate, or none."""
        tls = TLS.from_files(
            root_certificates=self._made.authority,
            certificate_chain=None if shown is None else shown.chain,
            private_key=None if shown is None else shown.key,
            server_name="localhost",
        )
        return Client(self.server.address, tls=tls, timeout=60)

    def channel(self, shown: ClientCertificate) -> grpc.Channel:
        """A channel with a connection of its own that shows a certificate."""
        files = (self._made.authority, shown.key, shown.chain)
        credentials = grpc.ssl_channel_credentials(*(each.read_bytes() for each in files))
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.server.address, credentials, options)

    def answers(self, shown: ClientCertificate | None) -> bool:
        """Whether the server answers a new client."""
        with self.client(shown) as client:
            try:
                return client.predict("sum", ROW).score == SCORE
            # The reference engine takes the connection of a revoked certificate, and no call of it.
            except (UnavailableError, UnauthenticatedError):
                return False

    def replace(self, file: Path, content: bytes, result: str = "taken") -> None:
        """Replace a file, and wait until the server has read it."""
        before = self._reloads(result)
        file.write_bytes(content)
        self.server.hang_up()
        wait_until(lambda: self._reloads(result) == before + 1, f"{file.name} to be {result}")

    def _reloads(self, result: str) -> float:
        return self.server.metrics()["scorewire_tls_reloads_total", frozenset({("result", result)})]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle that every test calls."""
    folder = tmp_path_factory.mktemp("models")
    write_sum_bundle(folder)
    return folder


# A principal by a SPIFFE id, and one by a DNS name without a right to the model.
ACCESS = """
[open]
metrics = true

[principals.shop]
predict = ["sum"]
[[principals.shop.certificates]]
uri = "spiffe://test/shop"

[principals.game]
predict = ["game-*"]
[[principals.game.certificates]]
dns = "game.internal"
"""


@contextmanager
def _asking(
    tmp_path: Path, models: Path, engine: str, *, lists: bool = False, access: bool = False
) -> Iterator[Asking]:
    made, authority = make_certificates(tmp_path), ClientAuthority(tmp_path)
    flags = (*made.server_flags(), "--tls-client-ca", authority.file, "--engine", engine)
    if access:
        (tmp_path / "access.toml").write_text(ACCESS, encoding="utf-8")
        flags += ("--access", tmp_path / "access.toml")
    if lists:
        (tmp_path / "crl.pem").write_bytes(authority.revocation_list())
        flags += ("--tls-client-crl", tmp_path / "crl.pem")
    with serving(tmp_path, models, *flags) as server:
        yield Asking(server, made, authority)


@pytest.mark.parametrize("engine", ENGINES)
def test_certificates_of_the_authority_are_taken_and_others_refused(
    tmp_path: Path, models: Path, engine: str
) -> None:
    with _asking(tmp_path, models, engine) as asking:
        other = ClientAuthority(tmp_path, "others")
        assert asking.answers(asking.authority.issue("shop"))
        assert not asking.answers(other.issue("stranger"))
        assert not asking.answers(asking.authority.issue("late", not_after=PAST))
        # grpc in Python cannot ask for a certificate without requiring one.
        assert asking.answers(None) == (engine == "native")


@pytest.mark.parametrize("engine", ENGINES)
def test_revoked_certificates_are_refused(tmp_path: Path, models: Path, engine: str) -> None:
    with _asking(tmp_path, models, engine, lists=True) as asking:
        authority = asking.authority
        shop, game = authority.issue("shop"), authority.issue("game")
        with asking.client(game) as before:
            assert before.predict("sum", ROW).score == SCORE
            # A list that is out of date still counts.
            for listed in (
                authority.revocation_list(shop),
                authority.revocation_list(shop, next_update=PAST),
            ):
                asking.replace(tmp_path / "crl.pem", listed)
                assert not asking.answers(shop)
                assert asking.answers(game)
            assert before.predict("sum", ROW).score == SCORE
        asking.replace(tmp_path / "crl.pem", authority.revocation_list(game))
        assert asking.answers(shop)
        assert not asking.answers(game)


@pytest.mark.parametrize("engine", ENGINES)
def test_authorities_are_replaced_and_old_connections_go_on(
    tmp_path: Path, models: Path, engine: str
) -> None:
    with _asking(tmp_path, models, engine) as asking:
        former, new = asking.authority, ClientAuthority(tmp_path, "new")
        shop, late_shop = former.issue("shop"), new.issue("late-shop")
        with asking.client(shop) as before:
            stream = before.predict_stream("sum", iter([ROW] * 2))
            next(stream)
            both = former.file.read_bytes() + new.file.read_bytes()
            asking.replace(former.file, both)
            assert asking.answers(shop)
            assert asking.answers(late_shop)
            asking.replace(former.file, new.file.read_bytes())
            assert not asking.answers(shop)
            assert asking.answers(late_shop)
            assert next(stream).score == before.predict("sum", ROW).score == SCORE


@pytest.mark.parametrize("engine", ENGINES)
def test_the_names_in_a_certificate_say_who_calls(tmp_path: Path, models: Path, engine: str) -> None:
    with _asking(tmp_path, models, engine, access=True) as asking:
        authority = asking.authority
        with asking.client(authority.issue("shop")) as client:
            assert client.predict("sum", ROW).score == SCORE
            assert [each.score for each in client.predict_stream("sum", [ROW] * 2)] == [SCORE] * 2
            assert [model.name for model in client.models()] == ["sum"]
        game = authority.issue("other", x509.DNSName("game.internal"))
        with asking.client(game) as client, pytest.raises(PermissionDeniedError):
            client.predict("sum", ROW)
        # The common name says nothing.
        with asking.client(authority.issue("stranger")) as client:
            for call in (lambda: client.predict("sum", ROW), client.models):
                with pytest.raises(UnauthenticatedError):
                    call()
            assert client.health()
        if engine == "native":
            with asking.client(None) as client:
                with pytest.raises(UnauthenticatedError):
                    client.predict("sum", ROW)
                assert client.health()


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_of_open_connections_end_with_their_certificate(
    tmp_path: Path, models: Path, engine: str
) -> None:
    with _asking(tmp_path, models, engine, lists=True, access=True) as asking:
        shop = asking.authority.issue("shop")
        ended = Event()

        def messages() -> Iterator[bytes]:
            yield MESSAGE
            ended.wait(60)

        with asking.channel(shop) as channel, asking.client(shop) as client:
            stream: Any = channel.stream_stream(PREDICT_STREAM)
            answers = stream(messages(), timeout=60)
            assert next(answers)
            assert client.predict("sum", ROW).score == SCORE
            asking.replace(tmp_path / "crl.pem", asking.authority.revocation_list(shop))
            try:
                with pytest.raises(grpc.RpcError):
                    next(answers)
            finally:
                ended.set()
            assert answers.code() == grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(UnauthenticatedError):
                client.predict("sum", ROW)
        assert not asking.answers(shop)


@pytest.mark.parametrize("engine", ENGINES)
def test_files_that_cannot_be_used_leave_those_before(tmp_path: Path, models: Path, engine: str) -> None:
    with _asking(tmp_path, models, engine, lists=True) as asking:
        shop = asking.authority.issue("shop")
        other = ClientAuthority(tmp_path, "others")
        authorities = asking.authority.file.read_bytes()
        asking.replace(tmp_path / "crl.pem", other.revocation_list(), "refused")
        asking.replace(tmp_path / "crl.pem", b"no list", "refused")
        asking.replace(asking.authority.file, authorities[:-100], "refused")
        assert asking.answers(shop)
        assert not asking.answers(other.issue("stranger"))
        lines = asking.server.logged("the certificate is not replaced, the one before stays", 3)
        assert [line["level"] for line in lines] == ["error"] * 3
        assert all(str(tmp_path / "crl.pem") in line["reason"] for line in lines)


@pytest.mark.parametrize("case", ["no certificate", "no authority", "no list", "another's list"])
def test_files_that_cannot_be_used_are_named_at_start(tmp_path: Path, models: Path, case: str) -> None:
    made, authority = make_certificates(tmp_path), ClientAuthority(tmp_path)
    lists = tmp_path / "crl.pem"
    lists.write_bytes(authority.revocation_list())
    flags = [*made.server_flags(), "--tls-client-ca", authority.file, "--tls-client-crl", lists]
    if case == "no certificate":
        flags = flags[4:]
    elif case == "no authority":
        authority.file.write_bytes(made.server_key.read_bytes())
    elif case == "no list":
        lists.write_bytes(authority.file.read_bytes())
    else:
        lists.write_bytes(ClientAuthority(tmp_path, "others").revocation_list())
    ended = run_command("serve", "--models", models, "--listen", "127.0.0.1:0", *flags)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "--tls-client-ca" in line
    if case != "no certificate":
        assert str(authority.file) in line
        assert str(lists) in line


def _handshake(address: str, authority: Path, context: ssl.SSLContext) -> str | None:
    """The version of TLS that the server and this client agree on."""
    context.load_verify_locations(authority)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        return wrapped.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_only_modern_versions_and_ciphers_are_taken(tmp_path: Path, models: Path, engine: str) -> None:
    made = make_certificates(tmp_path)

    def refusal(version: ssl.TLSVersion, ciphers: str) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Level 0, so that the client itself allows what is old.
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionResetError)) as caught:
            _handshake(server.address, made.authority, context)
        return str(getattr(caught.value, "reason", "ECONNRESET"))

    ended = ALERTS if engine == "native" else CLOSED
    with serving(tmp_path, models, *made.server_flags(), "--engine", engine) as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = context.maximum_version = version
            agreed = _handshake(server.address, made.authority, context)
            assert agreed == version.name.replace("_", ".")
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            assert refusal(version, "ALL") in ended
        # CBC, without forward secrecy, and both.
        for ciphers in ("ECDHE+AES+SHA:ECDHE+AES+SHA256:ECDHE+AES+SHA384", "kRSA+AESGCM", "kRSA+AES+SHA"):
            assert refusal(ssl.TLSVersion.TLSv1_2, ciphers) in ended
