from __future__ import annotations

import pytest

from tests.docs.world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The trained model, its bundles and the tables, made once."""
    return make_world(tmp_path_factory.mktemp("world"))
