"""The end of every training run: its bundle with the report, the model card and the settings.

Files about single customers are written beside the folder of models, because the
whole folder goes to servers: the private files of models/NAME/VERSION are in
models-private/NAME/VERSION.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scorewire_training.config import Progress, TrainingConfig
from scorewire_training.config_file import render_config, without_folders
from scorewire_training.errors import TrainingError
from scorewire_training.export import ExportedBundle, export_bundle
from scorewire_training.export.explanation import FrameExplainer
from scorewire_training.output.model_card import render_card
from scorewire_training.output.row_explanation import explain_typical_row
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
        private_files: the written files about single customers; empty if there are none.
        registered: the bundle's version in MLflow's registry; None without MLflow.
    """

    result: TrainingResult
    export: ExportedBundle
    private_files: tuple[Path, ...] = ()
    registered: RegisteredVersion | None = None


def check_new(name: str, config: TrainingConfig, *, private: bool = False) -> None:
    """Check before a long training run that its version is new, on disk and in the registry.

    Args:
        name: the model's name.
        config: the settings of the run.
        private: whether the run writes private files.

    Raises:
        TrainingError: the version exists, the registry does not answer, or the folder
            of private files cannot be written.
    """
    target = config.output_dir / name / config.version
    if target.exists():
        raise TrainingError(
            f"{target} exists, and a version never changes: choose another version than {config.version}"
        )
    if private:
        folder = private_folder(config).absolute()
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise TrainingError(
                f"{folder} cannot be written, where the data about single customers belongs: choose an "
                "--output whose parent folder can be written"
            )
    if config.mlflow_uri is not None:
        check_unregistered(config.mlflow_uri, name, config.version)


def publish(result: TrainingResult, config: TrainingConfig, *, progress: Progress) -> TrainedModel:
    """Export the model of a training run with its report, model card and settings, and register it in MLflow.

    Raises:
        ExportError: the bundle was not made.
        TrainingError: the bundle was made, and MLflow failed.
    """
    kept = without_folders(config)

    def make_files(explainer: FrameExplainer) -> dict[str, bytes]:
        report = render_report(
            result,
            version=config.version,
            seed=config.seed,
            explained_row=explain_typical_row(result, explainer, seed=config.seed),
            progress=progress,
        )
        return {REPORT: report, MODEL_CARD: render_card(result, kept), SETTINGS: render_config(kept)}

    exported = export_bundle(
        result.pipeline,
        sample=result.sample,
        name=result.name,
        version=config.version,
        output_dir=config.output_dir,
        description=result.description,
        metrics=result.metrics,
        feature_descriptions=result.feature_descriptions,
        files=make_files,
        progress=progress,
    )
    private_files = _write_private(
        private_folder(config) / result.name / config.version, result.private_files
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
    return TrainedModel(result=result, export=exported, private_files=private_files, registered=registered)


def private_folder(config: TrainingConfig) -> Path:
    """The folder of private files of all models: `models-private` beside `models`."""
    models = config.output_dir
    if models.name in ("", ".."):
        models = models.resolve()
    return models.with_name(f"{models.name}-private")


def _write_private(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write private files, each whole or not at all, readable by their owner only; returns their paths."""
    written = []
    try:
        for name, content in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".{name}.part"
            part.touch(mode=0o600)
            part.write_bytes(content)
            part.replace(folder / name)
            written.append(folder / name)
    except OSError as error:
        raise TrainingError(f"the bundle is written, but {folder} cannot be: {error.strerror}") from None
    return tuple(written)
