"""The examples for KServe: its own schemas, and the commands of the runtimes as real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from scorewire_proto.inference import inference_pb2
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.wire import Wire
from tests.deploy.commands import moved
from tests.deploy.kubernetes import validate
from tests.deploy.tools import KUBERNETES, ROOT
from tests.processes import COMMAND, service, serving, wait_until

FILES = sorted((ROOT / "deploy/kserve").glob("*.yaml"))
RUNTIMES = {
    each["metadata"]["name"]: each["spec"]
    for each in yaml.safe_load_all((ROOT / "deploy/kserve/runtimes.yaml").read_text(encoding="utf-8"))
}


def _container(runtime: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in RUNTIMES[runtime]["containers"] if each["name"] == name)
    return found  # type: ignore[no-any-return]


def _models(folder: Path) -> Path:
    """What the storage initializer leaves at /mnt/models."""
    write_sum_bundle(folder / "mnt/models")
    (folder / "tmp").mkdir()
    return folder / "mnt/models"


@pytest.mark.usefixtures("tools")
def test_the_files_fit_the_schemas_of_kserve() -> None:
    # YAML's anchors are for readers; KServe gets what they stand for.
    checked = validate(KUBERNETES[-1], *FILES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Valid: 4" in checked.stdout


def test_each_service_names_a_runtime_with_its_protocol() -> None:
    text = (ROOT / "deploy/kserve/inferenceservices.yaml").read_text(encoding="utf-8")
    for each in yaml.safe_load_all(text):
        model = each["spec"]["predictor"]["model"]
        runtime = RUNTIMES[model["runtime"]]
        assert model["protocolVersion"] in runtime["protocolVersions"]
        formats = [(known["name"], known["version"]) for known in runtime["supportedModelFormats"]]
        assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats


def test_the_runtime_answers_the_open_inference_protocol(tmp_path: Path) -> None:
    models = _models(tmp_path)
    arguments = [*moved(_container("scorewire", "kserve-container")["args"], tmp_path), "--drain-seconds=0"]
    with serving(tmp_path / "server", models, *arguments) as server:
        wire = Wire(server.address)
        ready = wire.call("/inference.GRPCInferenceService/ModelReady", _named("sum").SerializeToString())
        assert inference_pb2.ModelReadyResponse.FromString(ready).ready


def test_the_http_runtime_answers_the_open_inference_protocol(tmp_path: Path) -> None:
    models = _models(tmp_path)
    server_flags = moved(_container("scorewire-http", "kserve-container")["args"], tmp_path)
    gateway = _container("scorewire-http", "transformer-container")
    with serving(tmp_path / "server", models, *server_flags, "--drain-seconds=0") as server:
        flags = [*moved(gateway["args"], tmp_path), f"--server={server.address}", "--drain-seconds=0"]
        with service(tmp_path / "gateway", COMMAND, "gateway", flags=flags) as running:
            base = f"http://{running.address}"
            health = base + gateway["readinessProbe"]["httpGet"]["path"]
            # On a busy machine, the server may take longer than a probe waits.
            wait_until(lambda: httpx.get(health, timeout=60).status_code == 200, "the gateway to be ready")
            inputs = [
                {"name": "x0", "shape": [1, 1], "datatype": "FP64", "data": [1.0]},
                {"name": "x1", "shape": [1, 1], "datatype": "FP64", "data": [2.5]},
                {"name": "country", "shape": [1, 1], "datatype": "BYTES", "data": ["de"]},
            ]
            answered = httpx.post(f"{base}/v2/models/sum/infer", json={"inputs": inputs}, timeout=60)
            assert answered.status_code == 200, answered.text
            (output,) = (each for each in answered.json()["outputs"] if each["name"] == "value")
            assert output["data"] == [expected_value((1.0, 2.5), "de")]


def _named(model: str) -> inference_pb2.ModelReadyRequest:
    return inference_pb2.ModelReadyRequest(name=model)
