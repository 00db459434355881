from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from scorewire_contract.bundle import read_bundle
from scorewire_training.config import TrainingConfig
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportError
from scorewire_training.output import tracking
from scorewire_training.output.publishing import publish
from scorewire_training.output.tracking import (
    BUNDLE_VERSION,
    RegisteredVersion,
    check_unregistered,
    install_registered,
    record_run,
)
from scorewire_training.training_result import PredictionKind, TrainingResult
from tests.scorewire_training.results import make_result


@pytest.fixture(scope="module")
def result() -> TrainingResult:
    return make_result(PredictionKind.PROBABILITY)


@pytest.fixture(scope="module")
def bundle(result: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainingConfig(output_dir=tmp_path_factory.mktemp("trained"))
    return publish(result, config, progress=lambda _: None).export.path


@pytest.fixture(params=["sqlite", "folder"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db" if request.param == "sqlite" else str(tmp_path / "store")


def _record(result: TrainingResult, bundle: Path, uri: str) -> RegisteredVersion:
    return record_run(result, TrainingConfig(trials=4), bundle, uri=uri)


def test_a_run_has_parameters_metrics_candidates_and_the_bundle(
    result: TrainingResult, bundle: Path, uri: str
) -> None:
    registered = _record(result, bundle, uri)
    with tracking._connect(uri) as client:
        run = client.get_run(registered.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == "0"
        assert run.data.params["chosen"] == "boosted trees"
        assert run.data.params["model.depth"] == "3"
        assert run.data.metrics["auc"] == pytest.approx(result.metrics["auc"])
        curve = client.get_metric_history(registered.run_id, "learning_curve.validation")
        assert [(point.step, point.value) for point in curve] == [(100, 0.62), (400, 0.56), (800, 0.53)]
        nested = client.search_runs(
            [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{registered.run_id}'"
        )
        assert {item.info.run_name for item in nested} == {"linear", "forest", "boosted trees"}
        for item, candidate in ((item, each) for item in nested for each in result.candidates):
            if item.info.run_name == candidate.name:
                assert item.data.metrics["loss"] == pytest.approx(candidate.loss)
        files = {Path(item.path).name for item in client.list_artifacts(registered.run_id, "bundle")}
        assert files == {path.name for path in bundle.iterdir()}
        version = client.get_model_version("shop", str(registered.number))
        assert version.tags == {BUNDLE_VERSION: "1.0.0"}
        assert version.run_id == registered.run_id


def test_a_version_is_registered_once(result: TrainingResult, bundle: Path, uri: str) -> None:
    check_unregistered(uri, "shop", "1.0.0")
    assert _record(result, bundle, uri).uri == "models:/shop/1"
    with pytest.raises(TrainingError, match="version 1.0.0 of shop is registered as models:/shop/1"):
        check_unregistered(uri, "shop", "1.0.0")
    with pytest.raises(TrainingError, match="registered as models:/shop/1"):
        _record(result, bundle, uri)
    check_unregistered(uri, "shop", "1.0.1")


def test_a_registered_bundle_comes_back_byte_for_byte(
    result: TrainingResult, bundle: Path, uri: str, tmp_path: Path
) -> None:
    reference = _record(result, bundle, uri).uri
    models = tmp_path / "models"
    path = install_registered(reference, models, uri=uri)
    assert path == models / "shop" / "1.0.0"
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {
        file.name: file.read_bytes() for file in bundle.iterdir()
    }
    assert [entry.name for entry in (models / "shop").iterdir()] == ["1.0.0"]
    with pytest.raises(ExportError, match="exists, and a version never changes"):
        install_registered(reference, models, uri=uri)


def test_an_alias_names_a_registered_bundle(result: TrainingResult, bundle: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    _record(result, bundle, uri)
    with tracking._connect(uri) as client:
        client.set_registered_model_alias("shop", "best", "1")
    assert read_bundle(install_registered("models:/shop@best", tmp_path / "models", uri=uri)).model == "shop"


def test_a_bundle_that_was_changed_in_the_store_is_not_installed(
    result: TrainingResult, bundle: Path, uri: str, tmp_path: Path
) -> None:
    reference = _record(result, bundle, uri).uri
    graph = next(tmp_path.rglob("model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    models = tmp_path / "models"
    with pytest.raises(ExportError, match=f"{reference} is not sound: model.onnx differs from its checksum"):
        install_registered(reference, models, uri=uri)
    assert list((models / "shop").iterdir()) == []


def test_a_bundle_registered_under_another_version_is_not_installed(
    result: TrainingResult, bundle: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    reference = record_run(result, TrainingConfig(version="7.0.0"), bundle, uri=uri).uri
    with pytest.raises(ExportError, match="should be shop 7.0.0, and holds shop 1.0.0"):
        install_registered(reference, tmp_path / "models", uri=uri)
    assert list((tmp_path / "models" / "shop").iterdir()) == []


def test_a_model_of_another_tool_is_refused(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with tracking._connect(uri) as client:
        client.create_registered_model("other")
        client.create_model_version("other", (tmp_path / "x").as_uri())
    with pytest.raises(TrainingError, match="not registered by scorewire train"):
        install_registered("models:/other/1", tmp_path / "models", uri=uri)


def test_a_run_whose_artefact_fails_is_marked_and_registers_nothing(
    result: TrainingResult, bundle: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    # A file is in the place of the folder of artefacts.
    (tmp_path / "mlartifacts").write_text("")
    with pytest.raises(TrainingError, match=f"MLflow at {uri}: .*mlartifacts"):
        record_run(result, TrainingConfig(), bundle, uri=uri)
    with tracking._connect(uri) as client:
        experiment = client.get_experiment_by_name("shop")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FAILED'")
        assert len(runs) == 1
    check_unregistered(uri, "shop", "1.0.0")


@pytest.mark.parametrize("reference", ["shop/1", "models:/shop", "models:/../x/1", "models:/shop/latest", ""])
def test_a_reference_that_is_none_is_explained(reference: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="write it like models:/repurchase/3"):
        install_registered(reference, tmp_path, uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_a_version_that_is_not_there_is_explained(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not found"):
        install_registered("models:/shop/3", tmp_path / "models", uri=uri)
    assert not (tmp_path / "models").exists()


def test_a_store_that_cannot_be_opened_is_explained_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # MLflow itself would try again for 100 seconds.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    with pytest.raises(TrainingError, match="MLflow at ") as caught:
        check_unregistered("postgresql://me:secret@127.0.0.1:1/x", "shop", "1.0.0")
    assert "secret" not in str(caught.value)


def test_without_mlflow_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrainingError, match=r"pip install 'scorewire-training\[mlflow\]'"):
        check_unregistered(f"sqlite:///{tmp_path}/mlflow.db", "shop", "1.0.0")


def test_nothing_is_printed_and_no_file_stays_open(
    result: TrainingResult, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    install_registered(_record(result, bundle, uri).uri, tmp_path / "models", uri=uri)
    assert capfd.readouterr() == ("", "")
    opened = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert [path for path in opened if path.startswith(str(tmp_path))] == []
    shutil.rmtree(tmp_path)
