"""The server under test."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--address", required=True, help="HOST:PORT of a server of tests.triton.serving")
    parser.addoption("--http-address", required=True, help="HOST:PORT of a gateway in front of it")
    parser.addoption(
        "--guarded-address",
        required=True,
        help="HOST:PORT of a server that wants the key in SCOREWIRE_API_KEY, for the model simple only",
    )


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Where the server answers."""
    return str(request.config.getoption("--address"))


@pytest.fixture
def http_address(request: pytest.FixtureRequest) -> str:
    """Where the gateway answers."""
    return str(request.config.getoption("--http-address"))


@pytest.fixture
def guarded_address(request: pytest.FixtureRequest) -> str:
    """Where a server answers that wants to know who calls."""
    return str(request.config.getoption("--guarded-address"))
