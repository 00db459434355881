"""The server under test."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--address", required=True, help="HOST:PORT of a server of tests.triton.serving")
    parser.addoption("--http-address", required=True, help="HOST:PORT of a gateway in front of it")


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Where the server answers."""
    return str(request.config.getoption("--address"))


@pytest.fixture
def http_address(request: pytest.FixtureRequest) -> str:
    """Where the gateway answers."""
    return str(request.config.getoption("--http-address"))
