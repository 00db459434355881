"""Native servers for tests of hostile clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.held import Held
from tests.bundles import write_sum_bundle
from tests.certificates import Certificates
from tests.conformance.engines import NATIVE_MISSING
from tests.processes import ServerProcess, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A native server with one model."""
    if NATIVE_MISSING:
        pytest.skip(NATIVE_MISSING)
    folder = tmp_path_factory.mktemp("attacked")
    write_sum_bundle(folder / "models")
    with serving(folder, folder / "models", "--engine", "native") as running:
        yield running


@pytest.fixture(scope="module")
def tls_server(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A native server with one model and TLS."""
    if NATIVE_MISSING:
        pytest.skip(NATIVE_MISSING)
    folder = tmp_path_factory.mktemp("attacked")
    write_sum_bundle(folder / "models")
    with serving(folder, folder / "models", "--engine", "native", *certificates.server_flags()) as running:
        yield running


@pytest.fixture
def held(server: ServerProcess) -> Held:
    """The server's resources before the test."""
    return Held(server)
