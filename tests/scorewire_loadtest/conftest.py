from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scorewire_contract.bundle import Bundle, read_bundle
from tests.bundles import write_sum_bundle
from tests.scorewire_loadtest.fake_server import FakeServer, serving


@pytest.fixture(scope="session")
def sum_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = write_sum_bundle(tmp_path_factory.mktemp("models"))
    return read_bundle(path)


@pytest.fixture
def fake_server(sum_bundle: Bundle) -> Iterator[FakeServer]:
    with serving(sum_bundle) as server:
        yield server
