"""The collector's address, its certificate and its headers."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from scorewire_contract.service.start import StartError
from scorewire_server.tracing import collector as module
from scorewire_server.tracing.collector import Collector, system_roots
from tests import otlp
from tests.certificates import make_certificates
from tests.processes import TIMEOUT_SECONDS


def send(connection: Collector) -> grpc.StatusCode:
    """Send an empty request."""
    call = connection.export(b"", TIMEOUT_SECONDS)
    return call.code()


def test_headers_of_the_file_go_with_every_request_and_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# for the collector\nAuthorization: Bearer one two\n\nx-tenant:a:b\n")
    with otlp.collecting() as running:
        connection = Collector(f"http://{running.address}", file)
        assert send(connection) is grpc.StatusCode.OK
        assert running.metadata["authorization"] == "Bearer one two"
        assert running.metadata["x-tenant"] == "a:b"
        file.write_text("authorization: Bearer new")
        assert send(connection) is grpc.StatusCode.OK
        assert running.metadata["authorization"] == "Bearer new"
        # Whoever replaces the file may do it in steps.
        for step in (lambda: file.write_text("half"), file.unlink):
            step()
            assert send(connection) is grpc.StatusCode.OK
            assert running.metadata["authorization"] == "Bearer new"
        connection.close()


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "name secret",
        ": secret",
        "na me: secret",
        "n\xe4me: secret",
        "grpc-x: secret",
        "x-bin: secret",
    ],
)
def test_a_line_that_is_no_header_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(f"good: 1\n{text}\n", encoding="utf-8")
    with pytest.raises(StartError, match="line 2 is no header; write NAME: VALUE") as caught:
        Collector("http://127.0.0.1:1", file)
    assert "secret" not in str(caught.value)


def test_a_file_of_headers_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="--traces-headers-file .*: No such file"):
        Collector("http://127.0.0.1:1", tmp_path / "none")
    large = tmp_path / "large"
    large.write_text("a: b\n" * 20_000)
    with pytest.raises(StartError, match="more than 65536 bytes"):
        Collector("http://127.0.0.1:1", large)


def test_tls_trusts_the_authorities_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "good", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    good, other = map(make_certificates, folders)
    credentials = grpc.ssl_server_credentials([good.server_pair()])
    with otlp.collecting(credentials=credentials) as running:
        url = f"https://localhost:{running.address.rpartition(':')[2]}"
        for trusted, code in ((good, grpc.StatusCode.OK), (other, grpc.StatusCode.UNAVAILABLE)):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted.authority))
            connection = Collector(url)
            assert send(connection) is code
            connection.close()


def test_a_system_without_authorities_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(module, "_BUNDLES", ())
    with pytest.raises(StartError, match="install the package ca-certificates"):
        system_roots()
