"""A real server with all that routing has: a split, a shadow, aliases, and a version that was refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scorewire import Client
from tests.bundles import write_classifier_bundle, write_greeting_bundle, write_sum_bundle
from tests.processes import ServerProcess, serving, wait_until

# Calls of `sum` that name no version, of which half are copied to the shadow.
CALLS = 400
SPLIT = {"1.0.0": 75, "1.1.0": 25}
SHADOW = "1.2.0"
ALIASES = {"champion": "1.0.0", "challenger": "1.1.0"}
REFUSED = "1.3.0"


def write_models(models: Path) -> None:
    """Write `sum` in four versions, the last one damaged, and the models `classes` and `greeting`.

    The scores of 1.1.0 are far from those of 1.0.0, so that every sample of calls shows it.
    """
    for version, offset in (("1.0.0", 0.0), ("1.1.0", 50.0), (SHADOW, 0.0), (REFUSED, 0.0)):
        write_sum_bundle(models, version=version, offset=offset)
    (models / "sum" / REFUSED / "model.onnx").write_bytes(b"damaged")
    write_classifier_bundle(models)
    write_greeting_bundle(models)


@contextmanager
def routed_server(folder: Path) -> Iterator[ServerProcess]:
    """Run a server of these models, with its routing set, and calls that were answered.

    Their records are in the folder `records`.
    """
    write_models(folder / "models")
    with serving(folder, folder / "models", "--records", folder / "records") as server:
        with Client(server.address) as client:
            client.set_split("sum", SPLIT)
            for alias, version in ALIASES.items():
                client.set_alias("sum", alias, version)
            client.set_shadow("sum", SHADOW, 0.5)
            _call(client)
            wait_until(lambda: _copies(client) > CALLS / 4, "copies for the shadow")
        yield server


def _call(client: Client) -> None:
    rng = random.Random(5)
    for number in range(CALLS):
        row = {"x0": rng.uniform(-5, 5), "x1": rng.uniform(-5, 5), "country": rng.choice(["pe", "cl", "mx"])}
        client.predict("sum", row)
        if number % 40 == 0:
            client.predict("sum", [row, {**row, "x0": 1e31}], version="champion")


def _copies(client: Client) -> int:
    return sum(each.calls + each.dropped for each in client.statistics("sum") if each.shadow)
