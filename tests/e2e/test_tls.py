"""A server process with TLS."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scorewire import TLS, Client, UnavailableError
from tests.bundles import expected_value, write_sum_bundle
from tests.certificates import make_certificates
from tests.conformance.engines import ENGINES
from tests.processes import ServerProcess, run_command, serving, wait_until

# Long, because a machine may be busy.
PROBE = (sys.executable, "-m", "scorewire_server.healthcheck", "--timeout-seconds", "60")
ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, and the certificates `server` and `other`, each from its own authority."""
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
            with Client(server.address, tls=tls, timeout=60) as stranger, pytest.raises(UnavailableError):
                stranger.models()


def test_the_healthcheck_asks_over_tls(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, folder / "models", "--listen", "localhost:0", *_flags(folder)) as server:
        asked = run_command(server.address, "--tls-ca", folder / "server-ca.pem", command=PROBE)
        assert (asked.returncode, asked.stdout) == (0, "SERVING\n")
        assert run_command(server.address, "--tls-ca", folder / "other-ca.pem", command=PROBE).returncode == 1


def test_the_healthcheck_takes_the_name_in_the_certificate(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, folder / "models", *_flags(folder)) as server:
        asking = (server.address, "--tls-ca", folder / "server-ca.pem", "--tls-server-name")
        assert run_command(*asking, "localhost", command=PROBE).stdout == "SERVING\n"
        assert run_command(*asking, "other.example", command=PROBE).returncode == 1


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


class Rotated:
    """A server whose certificate files can be replaced.

    As in Kubernetes, --tls-cert and --tls-key name links into a folder that is
    itself a link, and that link is replaced.
    """

    def __init__(self, folder: Path, scratch: Path, server: ServerProcess) -> None:
        self._folder = folder
        self._scratch = scratch
        self.server = server

    @staticmethod
    def link(folder: Path, scratch: Path, certificate: str, key: str) -> None:
        made = Path(tempfile.mkdtemp(dir=scratch))
        shutil.copyfile(folder / f"{certificate}.pem", made / "tls.crt")
        shutil.copyfile(folder / f"{key}.key", made / "tls.key")
        (scratch / "next").symlink_to(made.name)
        (scratch / "next").rename(scratch / "current")

    def replace(self, certificate: str, key: str) -> None:
        """Replace the certificate files by others in one step."""
        self.link(self._folder, self._scratch, certificate, key)

    def client(self, name: str) -> Client:
        """A client with its own connection."""
        return Client(self.server.address, tls=_trusting(self._folder, name), timeout=60)

    def answers(self, name: str) -> bool:
        """Whether the server answers a new client that trusts an authority."""
        with self.client(name) as client:
            try:
                return client.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
            except UnavailableError:
                return False

    def look_now(self) -> None:
        """Send SIGHUP, so that the server reads the files at once."""
        self.server.signal(signal.SIGHUP)
        self.server.signalled = False

    def reloads(self, result: str) -> float:
        return self.server.metrics()["scorewire_tls_reloads_total", frozenset({("result", result)})]

    def expiry(self) -> float:
        return self.server.metrics()["scorewire_tls_certificate_expiry_timestamp_seconds", frozenset()]


@contextmanager
def _rotated(folder: Path, tmp_path: Path, engine: str) -> Iterator[Rotated]:
    scratch = tmp_path / "secret"
    scratch.mkdir()
    Rotated.link(folder, scratch, "server", "server")
    for name in ("tls.crt", "tls.key"):
        (scratch / name).symlink_to(Path("current") / name)
    flags = ("--tls-cert", scratch / "tls.crt", "--tls-key", scratch / "tls.key", "--engine", engine)
    with serving(tmp_path, folder / "models", *flags) as server:
        yield Rotated(folder, scratch, server)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_replaced_certificate_is_shown_and_old_connections_go_on(
    folder: Path, tmp_path: Path, engine: str
) -> None:
    with _rotated(folder, tmp_path, engine) as rotated, rotated.client("server") as before:
        stream = before.predict_stream("sum", iter([ROW] * 2))
        next(stream)
        rotated.replace("other", "other")
        rotated.look_now()
        wait_until(lambda: rotated.reloads("taken") == 1, "the certificate to be replaced")
        for _ in range(2):
            assert rotated.answers("other")
            assert not rotated.answers("server")
        assert next(stream).score == before.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
        rotated.replace("server", "server")
        rotated.look_now()
        wait_until(lambda: rotated.reloads("taken") == 2, "the certificate to be replaced again")
        assert rotated.answers("server")


def test_a_change_is_noticed_without_a_signal(folder: Path, tmp_path: Path) -> None:
    with _rotated(folder, tmp_path, "reference") as rotated:
        rotated.replace("other", "other")
        wait_until(lambda: rotated.reloads("taken") == 1, "the certificate to be replaced")
        assert rotated.answers("other")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pair_that_cannot_be_used_leaves_the_one_before(folder: Path, tmp_path: Path, engine: str) -> None:
    with _rotated(folder, tmp_path, engine) as rotated:
        expiry = rotated.expiry()
        assert expiry > datetime.now(UTC).timestamp()
        rotated.replace("other", "server")
        rotated.look_now()
        wait_until(lambda: rotated.reloads("refused") == 1, "the pair to be refused")
        (line,) = rotated.server.logged("the certificate is not replaced, the one before stays")
        assert line["level"] == "error"
        assert str(tmp_path / "secret" / "tls.crt") in line["reason"]
        assert rotated.answers("server")
        assert not rotated.answers("other")
        assert (rotated.reloads("taken"), rotated.expiry()) == (0, expiry)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_expired_certificate_is_told_at_start(folder: Path, tmp_path: Path, engine: str) -> None:
    end = datetime(2021, 2, 3, tzinfo=UTC)
    made = make_certificates(tmp_path, end)
    flags = (*made.server_flags(), "--engine", engine)
    with serving(tmp_path, folder / "models", *flags) as server:
        wait_until(lambda: bool(server.log("the certificate has expired")), "the warning")
        (line,) = server.log("the certificate has expired")
        assert (line["level"], line["not_after"]) == ("error", end.isoformat())
        name = "scorewire_tls_certificate_expiry_timestamp_seconds"
        assert server.metrics()[name, frozenset()] == end.timestamp()


@pytest.mark.parametrize("engine", ENGINES)
def test_without_tls_a_hangup_changes_nothing(folder: Path, tmp_path: Path, engine: str) -> None:
    with serving(tmp_path, folder / "models", "--engine", engine) as server:
        Rotated(folder, tmp_path, server).look_now()
        wait_until(
            lambda: bool(server.log("there is no certificate to read again: TLS is off")),
            "the signal to be heard",
        )
        with Client(server.address) as client:
            assert client.predict("sum", ROW).score == expected_value([1.0, 2.0], "de")
        assert not any("tls" in name for name, _ in server.metrics())
