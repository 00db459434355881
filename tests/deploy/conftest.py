from __future__ import annotations

import pytest

from tests.deploy.tools import missing


@pytest.fixture(scope="session")
def tools() -> None:
    """Skips a test where the programs and schemas are not built; continuous integration builds them."""
    absent = missing()
    if absent:
        pytest.skip(f"make tools builds {', '.join(absent)}")
