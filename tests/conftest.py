from __future__ import annotations

import pytest

from tests.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of an authority, a server and a client."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
