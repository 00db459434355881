"""The results of training commands as objects for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.config import TrainingConfig

if TYPE_CHECKING:
    from scorewire_training.output.publishing import TrainedModel
    from scorewire_training.training_result import CleaningStep


def describe_training(trained: TrainedModel, config: TrainingConfig) -> dict[str, Any]:
    """What `scorewire train` tells of a trained model; paths are as the command got them."""
    # Imported here, as --help and --check do not wait for the libraries of models.
    from scorewire_training.output.scoring_commands import scoring_commands  # noqa: PLC0415

    result = trained.result
    return {
        "model": result.name,
        "version": config.version,
        "title": result.title,
        "description": result.description,
        "bundle": str(trained.export.path),
        "rows_compared": trained.export.parity.rows_compared,
        "explanations": _describe_explanation(trained.export.explanation),
        "private_files": [str(path) for path in trained.private_files],
        "cleaning": describe_steps(result.steps),
        "loss": result.loss_name,
        "rule": result.rule,
        "candidates": [
            {
                "name": candidate.name,
                "loss": candidate.loss,
                "seconds": round(candidate.seconds, 1),
                "chosen": candidate.name == result.chosen,
            }
            for candidate in result.candidates
        ],
        "metrics": _describe_metrics(trained),
        "mlflow": trained.registered.uri if trained.registered is not None else None,
        "commands": list(scoring_commands(result, config)),
    }


def _describe_explanation(explanation: manifest_pb2.Explanation) -> list[dict[str, Any]]:
    """Each output of numbers with its link function, or with the reason why it is not explained."""
    explained = [{"output": each.output, "link": each.link, "reason": None} for each in explanation.outputs]
    others = [
        {"output": each.output, "link": None, "reason": each.reason} for each in explanation.unexplained
    ]
    return explained + others


def describe_steps(steps: Sequence[CleaningStep]) -> list[dict[str, Any]]:
    """The steps of data cleaning, in order."""
    return [asdict(step) for step in steps]


def _describe_metrics(trained: TrainedModel) -> list[dict[str, Any]]:
    """Each metric with its interval and its baselines; `shown` is its value for people."""
    from scorewire_training.evaluation.metrics import read_metrics  # noqa: PLC0415 - as above

    return [
        {
            "name": metric.name,
            "title": metric.title,
            "meaning": metric.meaning,
            "value": metric.value,
            "shown": metric.show(metric.value),
            "interval": metric.interval,
            "baselines": [asdict(baseline) for baseline in metric.baselines],
        }
        for metric in read_metrics(trained.result.metrics, unit=trained.result.unit)
    ]
