"""A server for each engine, and a channel to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.engines import ENGINES, MAX_WATCHES, write_models
from tests.conformance.wire import Wire
from tests.processes import ServerProcess, serving


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine under test."""
    return str(request.param)


@pytest.fixture(scope="session")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with small limits and the bundles of `write_models`."""
    folder = tmp_path_factory.mktemp("engine")
    models = folder / "models"
    write_models(models)
    limits = ("--max-rows", "1000", "--max-message-bytes", str(1 << 20), "--max-watches", str(MAX_WATCHES))
    with serving(folder, models, "--engine", engine, *limits) as running:
        yield running


@pytest.fixture(scope="session")
def address(server: ServerProcess) -> str:
    """HOST:PORT of the server under test."""
    return server.address


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    """A channel of the test's own; to the module's server, if the module has one."""
    wire = Wire(server.address)
    with wire.channel:
        yield wire
