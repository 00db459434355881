"""The engines under test, and the bundles that they serve in the tests of the wire."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import bundles

# Why the native engine cannot be tested here; "" if it can.
NATIVE_MISSING = (
    ""
    if find_spec("scorewire_native")
    else "scorewire_native is not built here: install cargo, then run `make setup`"
)
NATIVE = pytest.param("native", marks=pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING))
# The engines that the suite tests.
ENGINES = ("reference", NATIVE)
# The limit of health watches of the server under test.
MAX_WATCHES = 8


def write_models(models: Path) -> None:
    """Write the bundles that the suite expects in a server under test.

    `sum` has versions 1.0.0, 1.1.0 (adds 100), 2.0.0-rc.1 (adds 1000) and 3.0.0,
    which is corrupt. `classes` takes a number only, and `greeting` a text only.
    `tensors` declares its own tensors. `broken` has no version that may serve.
    """
    bundles.write_sum_bundle(models)
    bundles.write_sum_bundle(models, version="1.1.0", offset=100)
    bundles.write_sum_bundle(models, version="2.0.0-rc.1", offset=1000)
    for model, version in (("sum", "3.0.0"), ("broken", "1.0.0")):
        graph = bundles.write_sum_bundle(models, model=model, version=version) / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:-1])
    bundles.write_classifier_bundle(models)
    bundles.write_greeting_bundle(models)
    bundles.write_tensor_bundle(models)
    (models / "README.md").write_text("for people")
    (models / "sum" / ".1.2.0.half").mkdir()
