"""A real server with a certificate."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scorewire import TLS, Client, UnavailableError
from tests.bundles import expected_value, write_sum_bundle
from tests.certificates import make_certificates
from tests.processes import run_command, serving

PROBE = (sys.executable, "-m", "scorewire_server.probe")
ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, and the certificates `server` and `other`, of an authority each."""
    folder = tmp_path_factory.mktemp("tls")
    write_sum_bundle(folder / "models")
    for name in ("server", "other"):
        made = make_certificates(tmp_path_factory.mktemp(name))
        made.authority.rename(folder / f"{name}-ca.pem")
        made.server.rename(folder / f"{name}.pem")
        made.server_key.rename(folder / f"{name}.key")
    return folder


def _flags(folder: Path, certificate: str = "server", key: str = "server") -> tuple[str | Path, ...]:
    return "--tls-cert", folder / f"{certificate}.pem", "--tls-key", folder / f"{key}.key"


def _trusting(folder: Path, name: str) -> TLS:
    return TLS.from_files(root_certificates=folder / f"{name}-ca.pem", server_name="localhost")


def test_who_trusts_the_certificate_is_answered_and_others_are_not(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, folder / "models", *_flags(folder)) as server:
        with Client(server.address, tls=_trusting(folder, "server")) as client:
            assert client.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
            scores = [prediction.score for prediction in client.predict_stream("sum", [ROW] * 3)]
            assert scores == [expected_value([1.0, 2.0], "de")] * 3
        for tls in (_trusting(folder, "other"), None):
            with Client(server.address, tls=tls, timeout=5) as stranger, pytest.raises(UnavailableError):
                stranger.models()


def test_the_probe_asks_over_tls(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, folder / "models", "--listen", "localhost:0", *_flags(folder)) as server:
        asked = run_command(server.address, "--tls-ca", folder / "server-ca.pem", command=PROBE)
        assert (asked.returncode, asked.stdout) == (0, "SERVING\n")
        assert run_command(server.address, "--tls-ca", folder / "other-ca.pem", command=PROBE).returncode == 1


@pytest.mark.parametrize("case", ["missing", "no certificate", "another's key"])
def test_a_certificate_that_cannot_be_used_is_named(folder: Path, tmp_path: Path, case: str) -> None:
    key = "other" if case == "another's key" else "server"
    certificate = "server" if case == "another's key" else "bad"
    if case == "no certificate":
        (folder / "bad.pem").write_text("no certificate")
    else:
        (folder / "bad.pem").unlink(missing_ok=True)
    flags = _flags(folder, certificate, key)
    ended = run_command("serve", "--models", folder / "models", "--listen", "127.0.0.1:0", *flags)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert str(folder / f"{certificate}.pem") in line
    assert str(folder / f"{key}.key") in line
