from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from scorewire_contract.service.start import StartError
from scorewire_server import certificates as certificates_module
from scorewire_server.certificates import Certificates
from scorewire_server.engine.port import Certificate
from scorewire_server.engine.tls import read_certificate
from scorewire_server.settings import Settings
from tests.certificates import ClientAuthority, make_certificates

REFUSED = "the certificate is not replaced, the one before stays"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a certificate, whose files a test may change."""
    made = make_certificates(tmp_path)
    return Settings(tls_cert=made.server, tls_key=made.server_key)


def _replace(settings: Settings, folder: Path, not_after: datetime | None = None) -> None:
    folder.mkdir()
    made = make_certificates(folder, not_after)
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    shutil.copyfile(made.server, settings.tls_cert)
    shutil.copyfile(made.server_key, settings.tls_key)


@pytest.mark.parametrize("year", [2049, 2050, 2999])
def test_the_times_are_those_of_the_certificate(settings: Settings, tmp_path: Path, year: int) -> None:
    _replace(settings, tmp_path / "new", datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC))
    read = read_certificate(settings)
    assert read is not None
    told = x509.load_pem_x509_certificate(read.chain)
    assert (read.not_before, read.not_after) == (told.not_valid_before_utc, told.not_valid_after_utc)
    assert read.not_after.year == year


def test_text_before_a_certificate_and_others_behind_it_are_passed_over(
    settings: Settings, tmp_path: Path
) -> None:
    assert settings.tls_cert is not None
    before = read_certificate(settings)
    assert before is not None
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other", datetime.now(UTC) + timedelta(days=1))
    text = "subject=Grüße\n".encode() + before.chain + other.authority.read_bytes()
    settings.tls_cert.write_bytes(text)
    read = read_certificate(settings)
    assert read == Certificate(text, before.key, before.not_before, before.not_after)


def test_a_file_without_its_part_is_named(settings: Settings) -> None:
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    chain, key = settings.tls_cert.read_bytes(), settings.tls_key.read_bytes()
    settings.tls_key.write_bytes(chain)
    with pytest.raises(StartError, match=f"{settings.tls_key} has no private key"):
        read_certificate(settings)
    settings.tls_cert.write_bytes(key)
    with pytest.raises(StartError, match=f"{settings.tls_cert} has no certificate"):
        read_certificate(settings)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(settings: Settings) -> None:
    assert settings.tls_key is not None
    key = load_pem_private_key(settings.tls_key.read_bytes(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        settings.tls_key.write_bytes(
            key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        )
        with pytest.raises(StartError, match="encrypted"):
            read_certificate(settings)


async def test_the_engine_gets_each_pair_once(settings: Settings, tmp_path: Path) -> None:
    used: list[Certificate] = []
    certificates = Certificates(settings, used.append)
    for _ in range(2):
        await certificates.look()
    assert used == [read_certificate(settings)]
    _replace(settings, tmp_path / "new")
    for _ in range(2):
        await certificates.look()
    assert used[1:] == [read_certificate(settings)]
    assert (certificates.replaced, certificates.refused) == (1, 0)
    assert certificates.shown == used[1]


async def test_the_engine_gets_new_authorities_and_revocation_lists(
    settings: Settings, tmp_path: Path
) -> None:
    authority, lists = ClientAuthority(tmp_path), tmp_path / "crl.pem"
    lists.write_bytes(authority.revocation_list())
    settings = replace(settings, tls_client_ca=authority.file, tls_client_crl=lists)
    used: list[Certificate] = []
    certificates = Certificates(settings, used.append)
    await certificates.look()
    lists.write_bytes(authority.revocation_list(authority.issue("shop")))
    await certificates.look()
    authority.file.write_bytes(authority.file.read_bytes() * 2)
    await certificates.look()
    assert [each.client_crl for each in used[1:]] == [lists.read_bytes()] * 2
    assert [each.client_ca for each in used[1:]] == [used[0].client_ca, authority.file.read_bytes()]
    assert used[0].client_crl != used[1].client_crl
    # A list of an authority that is not there any more.
    authority.file.write_bytes(ClientAuthority(tmp_path, "others").file.read_bytes())
    with capture_logs() as logged:
        await certificates.look()
    assert [line["event"] for line in logged] == [REFUSED]
    assert (certificates.replaced, certificates.refused, len(used)) == (2, 1, 3)


async def test_files_that_cannot_be_used_change_nothing_and_are_told_once(
    settings: Settings, tmp_path: Path
) -> None:
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    used: list[Certificate] = []
    certificates = Certificates(settings, used.append)
    await certificates.look()
    good, key = settings.tls_cert.read_bytes(), settings.tls_key.read_bytes()
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other").server.read_bytes()
    with capture_logs() as logged:
        for broken in (good[: len(good) // 2], other):
            settings.tls_cert.write_bytes(broken)
            for _ in range(3):
                await certificates.look()
        settings.tls_cert.unlink()
        await certificates.look()
    assert [line["event"] for line in logged] == [REFUSED] * 3
    assert all(str(settings.tls_cert) in line["reason"] for line in logged)
    assert not any(key.decode() in str(line) for line in logged)
    assert (certificates.replaced, certificates.refused, len(used)) == (0, 3, 1)
    # Whoever asks gets the line again.
    with capture_logs() as logged:
        await certificates.look(asked=True)
    assert [line["event"] for line in logged] == [REFUSED]
    settings.tls_cert.write_bytes(good)
    await certificates.look()
    assert (certificates.shown, certificates.refused, len(used)) == (used[0], 4, 1)


async def test_a_pair_that_the_engine_refuses_is_refused(settings: Settings) -> None:
    def refuse(_: Certificate) -> None:
        raise StartError("no such curve")

    certificates = Certificates(settings, refuse)
    with capture_logs() as logged:
        await certificates.look()
    assert [line["reason"] for line in logged] == ["no such curve"]
    assert certificates.shown is None


@pytest.mark.parametrize(
    ("begin", "end", "event"),
    [(-2, -1, "the certificate has expired"), (1, 2, "the certificate is not valid yet"), (-1, 1, None)],
)
async def test_a_certificate_out_of_its_time_is_told_once(
    monkeypatch: pytest.MonkeyPatch, begin: int, end: int, event: str | None
) -> None:
    now = datetime.now(UTC)
    shown = Certificate(b"", b"", now + timedelta(days=begin), now + timedelta(days=end))
    monkeypatch.setattr(certificates_module, "read_certificate", lambda _: shown)
    certificates = Certificates(Settings(), lambda _: None)
    with capture_logs() as logged:
        for _ in range(2):
            await certificates.look()
    assert [line["event"] for line in logged] == ([event] if event else [])


async def test_a_fault_does_not_end_the_looking(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates_module, "_SECONDS_BETWEEN_LOOKS", 0.01)
    used = asyncio.Event()
    faults = 2

    def use(_: Certificate) -> None:
        nonlocal faults
        if faults:
            faults -= 1
            raise RuntimeError("out of order")
        used.set()

    following = asyncio.create_task(Certificates(settings, use).follow())
    with capture_logs() as logged:
        async with asyncio.timeout(60):
            await used.wait()
    following.cancel()
    assert [str(line["exc_info"]) for line in logged] == ["out of order"] * 2
