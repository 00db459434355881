"""A graph that never ends delays neither other bundles nor the end of the server."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from scorewire import Client, ScorewireError, VersionState
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.processes import serving, wait_until
from tests.scorewire_server.models import write_endless_bundle

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_load_without_end_holds_up_no_other_bundle_and_no_end(tmp_path: Path, engine: str) -> None:
    models = tmp_path / "models"
    write_sum_bundle(models, model="healthy")
    # A server that waited for the sandbox or for the grace period would take longer than any test.
    flags = (
        "--trial-seconds",
        "3600",
        "--grace-seconds",
        "3600",
        "--watch",
        "poll",
        "--watch-seconds",
        "0.1",
    )
    with serving(tmp_path, models, "--engine", engine, *flags) as server, Client(server.address) as client:
        write_endless_bundle(models)

        def state(model: str) -> VersionState | None:
            return {each.name: each.versions[0].state for each in client.models()}.get(model)

        wait_until(lambda: state("endless") is VersionState.LOADING, "the load without end")

        def load() -> None:
            with suppress(ScorewireError), Client(server.address) as other:
                other.load_version("endless", "1.0.0")

        loading = threading.Thread(target=load)
        loading.start()
        write_sum_bundle(models, model="later")
        wait_until(lambda: state("later") is VersionState.SERVING, "a bundle that came later")
        for model in ("healthy", "later"):
            assert client.predict(model, ROW).score == expected_value([1.0, 2.0], "de")
        assert state("endless") is VersionState.LOADING
        server.signal()
        assert server.wait() == 0
        loading.join()
