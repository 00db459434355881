"""Training runs in MLflow, and bundles in its model registry.

A registered version is one bundle. Its artefact is the bundle's folder as it is on
disk, never a pickled model. Its tag `scorewire.bundle_version` is the bundle's
version, and no other registered version of the model has the same tag. MLflow is
imported only where it is used, with its telemetry switched off.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorewire_contract.bundle import MAX_FILE_BYTES, MAX_FILES, Bundle, BundleError, read_bundle
from scorewire_contract.scoring import GoldenMismatchError, score_golden
from scorewire_training.config import TrainingConfig
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportError
from scorewire_training.export.bundle_writing import check_target
from scorewire_training.export.runtime import open_graph
from scorewire_training.study.candidates import TunedCandidate
from scorewire_training.training_result import TrainingResult

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BUNDLE_VERSION = "scorewire.bundle_version"
_FOLDER = "bundle"
_REFERENCE = re.compile(r"models:/([a-z0-9_-]{1,63})(?:/([0-9]{1,9})|@([A-Za-z0-9_.-]{1,255}))")
# MLflow's limits: parameters in one call, and characters of one value.
_MAX_PARAMETERS = 100
_MAX_TEXT = 500
_INSTALL = "MLflow is not installed: pip install 'scorewire-training[mlflow]'"


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a model in the registry, and the run that logged it."""

    model: str
    number: int
    run_id: str

    @property
    def uri(self) -> str:
        """The reference that `scorewire export --mlflow` takes."""
        return f"models:/{self.model}/{self.number}"


def check_unregistered(uri: str, model: str, version: str) -> None:
    """Check that a bundle's version is not registered.

    Raises:
        TrainingError: the version is registered, the registry cannot be reached, or
            MLflow is not installed.
    """
    with _connect(uri) as client:
        _check_unregistered(client, model, version)


def record_run(
    result: TrainingResult, config: TrainingConfig, bundle: Path, *, uri: str
) -> RegisteredVersion:
    """Write a run and its candidates to MLflow, log the bundle as its artefact, and register the bundle.

    Args:
        result: the result of the run.
        config: the settings of the run.
        bundle: the folder of the bundle.
        uri: the URI of the store.

    Raises:
        TrainingError: the version is registered already, or the store failed. The
            run is then marked as failed, and the bundle stays on disk.
    """
    with _connect(uri) as client:
        _check_unregistered(client, result.name, config.version)
        experiment = _find_experiment(client, result.name, uri)
        tags = {
            BUNDLE_VERSION: config.version,
            "mlflow.source.name": "scorewire train",
            "mlflow.note.content": result.description,
        }
        run = client.create_run(experiment, run_name=f"{result.name} {config.version}", tags=tags).info
        try:
            _log_parameters(client, run.run_id, _list_parameters(result, config))
            _log_metrics(client, run.run_id, result)
            for candidate in result.candidates:
                _log_candidate(client, experiment, run.run_id, candidate)
            client.log_artifacts(run.run_id, str(bundle), _FOLDER)
            _require_model(client, result)
            registered = client.create_model_version(
                result.name,
                f"{run.artifact_uri}/{_FOLDER}",
                run.run_id,
                tags={BUNDLE_VERSION: config.version},
                description=result.description,
            )
        except BaseException:
            client.set_terminated(run.run_id, "FAILED")
            raise
        client.set_terminated(run.run_id)
        return RegisteredVersion(result.name, int(registered.version), run.run_id)


def install_registered(reference: str, output_dir: Path, *, uri: str) -> Path:
    """Download a registered bundle into a folder of models, whole or not at all.

    The bundle is checked as by `scorewire verify` before it gets its final name.

    Args:
        reference: models:/NAME/NUMBER or models:/NAME@ALIAS.
        output_dir: the folder of all models.
        uri: the URI of the store.

    Returns:
        The bundle's folder.

    Raises:
        TrainingError: the store has no such version, or cannot be reached.
        ExportError: the artefact is not a bundle or not the registered version, the
            bundle is damaged, or its folder exists.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise TrainingError(f"{reference!r} is not a registered model: write it like models:/repurchase/3")
    model, number, alias = match.groups()
    with _connect(uri) as client:
        if alias:
            registered = client.get_model_version_by_alias(model, alias)
        else:
            registered = client.get_model_version(model, number)
        version = registered.tags.get(BUNDLE_VERSION)
        if version is None or registered.run_id is None:
            raise TrainingError(
                f"{reference} was not registered by scorewire train --mlflow: it is not a bundle"
            )
        target = check_target(output_dir, model, version)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays within one file system. The dot
        # keeps servers from reading the folder as a version.
        scratch = target.parent / f".{version}.{secrets.token_hex(4)}"
        scratch.mkdir()
        try:
            folder = _download(client, registered, scratch)
            _verify(folder, model, version, reference)
            folder.rename(target)
        except OSError as error:
            raise ExportError(f"{target} cannot be put in place: {error.strerror}") from None
        finally:
            shutil.rmtree(scratch)
    return target


@contextmanager
def _connect(uri: str) -> Iterator[MlflowClient]:
    """A client of the store without log lines; its failures are raised as TrainingError."""
    # Only MLflow reads these, some of them when it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A pooled connection keeps its database file open until the process ends.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    if "://" not in uri or uri.startswith("file:"):
        # MLflow prefers a database and takes a folder only with this variable.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    with warnings.catch_warnings():
        # MLflow's own imports warn about other libraries.
        warnings.simplefilter("ignore")
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - optional, and slow to import
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
            from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
        except ModuleNotFoundError:
            raise TrainingError(_INSTALL) from None
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"MLflow at {_hide_password(uri)}: {reason}") from None


def _hide_password(uri: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", uri)


def _check_unregistered(client: MlflowClient, model: str, version: str) -> None:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", page_token=token)
        for registered in page:
            if registered.tags.get(BUNDLE_VERSION) == version:
                raise TrainingError(
                    f"version {version} of {model} is registered as models:/{model}/{registered.version}, "
                    "and a version never changes: choose another version"
                )
        token = page.token
        if not token:
            return


def _find_experiment(client: MlflowClient, name: str, uri: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    place = None
    if uri.startswith("sqlite:"):
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - as above

        # Beside the database; by default MLflow takes the current folder.
        place = (Path(make_url(uri).database or ".").resolve().parent / "mlartifacts" / name).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def _list_parameters(result: TrainingResult, config: TrainingConfig) -> dict[str, Any]:
    chosen = next((each for each in result.candidates if each.name == result.chosen), None)
    settings = {item.name: getattr(config, item.name) for item in fields(config) if item.name != "mlflow_uri"}
    best = {f"model.{name}": value for name, value in chosen.parameters.items()} if chosen else {}
    return {**settings, "chosen": result.chosen, "rule": result.rule, **best}


def _log_parameters(client: MlflowClient, run_id: str, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param  # noqa: PLC0415 - as above

    params = [
        Param(name, str(value)[:_MAX_TEXT]) for name, value in parameters.items() if value not in (None, {})
    ]
    for start in range(0, len(params), _MAX_PARAMETERS):
        client.log_batch(run_id, params=params[start : start + _MAX_PARAMETERS])


def _log_metrics(client: MlflowClient, run_id: str, result: TrainingResult) -> None:
    from mlflow.entities import Metric  # noqa: PLC0415 - as above

    curve = result.learning_curve
    metrics = [Metric(name, value, 0, 0) for name, value in result.metrics.items()]
    for rows, training, validation in zip(curve.rows, curve.training, curve.validation, strict=True):
        # The step is the number of rows.
        metrics.append(Metric("learning_curve.training", float(training), 0, int(rows)))
        metrics.append(Metric("learning_curve.validation", float(validation), 0, int(rows)))
    client.log_batch(run_id, metrics=metrics)


def _log_candidate(client: MlflowClient, experiment: str, parent: str, candidate: TunedCandidate) -> None:
    """Write a child run for a candidate; the step of its fold losses is the number of the fold."""
    from mlflow.entities import Metric  # noqa: PLC0415 - as above

    run = client.create_run(experiment, run_name=candidate.name, tags={"mlflow.parentRunId": parent}).info
    _log_parameters(client, run.run_id, candidate.parameters)
    metrics = [Metric("fold_loss", loss, 0, fold) for fold, loss in enumerate(candidate.fold_losses)]
    metrics += [
        Metric("loss", candidate.loss, 0, 0),
        Metric("seconds", candidate.seconds, 0, 0),
        Metric("trials", candidate.trials, 0, 0),
    ]
    client.log_batch(run.run_id, metrics=metrics)
    client.set_terminated(run.run_id)


def _require_model(client: MlflowClient, result: TrainingResult) -> None:
    """Create the registered model if it does not exist."""
    if not client.search_registered_models(f"name = '{result.name}'"):
        client.create_registered_model(result.name, description=result.title)


def _download(client: MlflowClient, registered: ModelVersion, scratch: Path) -> Path:
    """Download the bundle's files, after a check of their number and sizes."""
    run_id = str(registered.run_id)
    listed = client.list_artifacts(run_id, _FOLDER)
    if not listed or len(listed) > MAX_FILES + 1 or any(item.is_dir for item in listed):
        raise ExportError(f"the artefact of models:/{registered.name}/{registered.version} is not a bundle")
    if any((item.file_size or 0) > MAX_FILE_BYTES for item in listed):
        raise ExportError(f"models:/{registered.name}/{registered.version} has a file too large for a bundle")
    return Path(client.download_artifacts(run_id, _FOLDER, str(scratch)))


def _verify(folder: Path, model: str, version: str, reference: str) -> Bundle:
    try:
        bundle = read_bundle(folder)
        score_golden(bundle, open_graph(bundle.graph))
    except (BundleError, GoldenMismatchError, ValueError) as error:
        raise ExportError(f"{reference} is not sound: {error}") from None
    if (bundle.model, bundle.manifest.version) != (model, version):
        raise ExportError(
            f"{reference} should be {model} {version}, and holds {bundle.model} {bundle.manifest.version}"
        )
    return bundle
