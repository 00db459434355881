"""The end of every training run: its bundle with the report, the model card and the settings."""

from __future__ import annotations

from dataclasses import dataclass

from scorewire_training.config import Progress, TrainingConfig
from scorewire_training.config_file import render_config
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportedBundle, ExportError, export_bundle
from scorewire_training.output.model_card import render_card
from scorewire_training.output.tracking import RegisteredVersion, check_unregistered, record_run
from scorewire_training.report import render_report
from scorewire_training.training_result import TrainingResult

REPORT = "report.html"
MODEL_CARD = "model_card.md"
SETTINGS = "training.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A training run after its publication.

    Attributes:
        result: the fitted pipeline and its evaluation.
        export: the bundle.
        registered: the bundle's version in MLflow's registry; None without MLflow.
    """

    result: TrainingResult
    export: ExportedBundle
    registered: RegisteredVersion | None = None


def check_new(name: str, config: TrainingConfig) -> None:
    """Check before a long training run that its version is new, on disk and in the registry.

    Raises:
        TrainingError: the version exists, or the registry does not answer.
    """
    target = config.output_dir / name / config.version
    if target.exists():
        raise TrainingError(
            f"{target} exists, and a version never changes: choose another version than {config.version}"
        )
    if config.mlflow_uri is not None:
        check_unregistered(config.mlflow_uri, name, config.version)


def publish(result: TrainingResult, config: TrainingConfig, *, progress: Progress) -> TrainedModel:
    """Export the model of a training run with its report, model card and settings, and register it in MLflow.

    Raises:
        ExportError: the bundle was not made.
        TrainingError: the bundle was made, and MLflow failed.
    """
    own = {
        REPORT: render_report(result, version=config.version, seed=config.seed, progress=progress),
        MODEL_CARD: render_card(result, config),
        SETTINGS: render_config(config),
    }
    if taken := sorted(own.keys() & result.files.keys()):
        raise ExportError(f"{taken[0]} is a file of every bundle: give the use case's file another name")
    exported = export_bundle(
        result.pipeline,
        sample=result.sample,
        name=result.name,
        version=config.version,
        output_dir=config.output_dir,
        description=result.description,
        metrics=result.metrics,
        feature_descriptions=result.feature_descriptions,
        files={**result.files, **own},
        progress=progress,
    )
    registered = None
    if config.mlflow_uri is not None:
        progress("Writing the run to MLflow")
        try:
            registered = record_run(result, config, exported.path, uri=config.mlflow_uri)
        except TrainingError as error:
            raise TrainingError(
                f"the bundle {exported.path} is written, but not registered: {error}"
            ) from None
    return TrainedModel(result=result, export=exported, registered=registered)
