"""The model card: what people must know before they use the model, in Markdown.

Its parts follow Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

from scorewire_training.config import TrainingConfig
from scorewire_training.config_file import render_config
from scorewire_training.evaluation.metrics import read_metrics
from scorewire_training.output.scoring_commands import scoring_commands
from scorewire_training.report.data_charts import describe_range
from scorewire_training.report.model_charts import fold_interval
from scorewire_training.report.rendering import describe_parameters
from scorewire_training.report.summary import as_sentence, summarize
from scorewire_training.training_result import PredictionKind, TrainingResult

# The libraries that can change a model's numbers.
_LIBRARIES = (
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "scikit-learn",
    "scipy",
    "skl2onnx",
    "xgboost-cpu",
)
_MARKS = re.compile(r"([\\`*\[\]<>|&])")


def render_card(result: TrainingResult, config: TrainingConfig) -> bytes:
    """The card of a trained model, Markdown in UTF-8; the same result gives the same bytes."""
    parts = [
        f"# {_plain(result.title)}",
        f"{_plain(result.name)} {config.version}. {_plain(result.description)}",
        "[report.html](report.html) shows what follows as charts.",
        *_section("In short", _bullets(summarize(result))),
        *_section("Intended use", _describe_use(result)),
        *_section("Score new rows", _describe_scoring(result, config)),
        *_section("Data", _describe_data(result)),
        *_section("Evaluation protocol", _bullets(result.evaluation_protocol)),
        *_section("Evaluation", _describe_evaluation(result)),
        *_section("Candidates", _describe_candidates(result)),
        *_section("Limits", _bullets(result.limits)),
        *_section("Features", _describe_features(result)),
        *_section("Reproduce it", _describe_reproduction(config)),
    ]
    return ("\n\n".join(part for part in parts if part) + "\n").encode("utf-8")


def _section(title: str, text: str) -> tuple[str, ...]:
    return (f"## {title}", text) if text else ()


def _describe_use(result: TrainingResult) -> str:
    what = "a probability from 0 to 1" if result.kind is PredictionKind.PROBABILITY else "an amount"
    unit = f" in {_plain(result.unit)}" if result.unit else ""
    return (
        f"A prediction is {what}{unit}, for rows like those of training: "
        "the features below, known at the time that the data describes. "
        "It ranks and it estimates; it does not say what would happen if something were done, and what a "
        "column contributes to a prediction is no cause. "
        "Where a decision about a person follows from it, a person should make it."
    )


def _describe_scoring(result: TrainingResult, config: TrainingConfig) -> str:
    commands = scoring_commands(result, config)
    return "\n\n".join(
        [
            "While `scorewire serve --models` runs with the folder of models, these commands score the rows "
            "of tomorrow, from the table as it is then.",
            _code(commands),
            "The files have the ids of customers or users: keep them as private as the table.",
        ]
    )


def _code(lines: Iterable[str]) -> str:
    # An indented code block cannot be ended by a text inside it.
    return "\n".join(f"    {line}" for text in lines for line in text.splitlines())


def _describe_data(result: TrainingResult) -> str:
    fitted, held_out = len(result.sample_target), len(result.target)
    lines = [f"{fitted:,} rows were used for fitting, {held_out:,} were held out for evaluation."]
    if result.table_notes:
        notes = ((note.subject, note.text) for note in result.table_notes)
        lines.append(_table(("how the table was read", ""), notes))
    if result.steps:
        rows = (
            (step.name, step.reason, f"{step.rows_taken:,}", f"{step.rows_left:,}") for step in result.steps
        )
        lines.append(_table(("step", "why", "rows taken", "rows left"), rows))
    return "\n\n".join(lines)


def _describe_evaluation(result: TrainingResult) -> str:
    rows = (
        (
            metric.title,
            metric.show(metric.value),
            " to ".join(metric.show(bound) for bound in metric.interval or ()),
            ", ".join(
                f"{baseline.rule.replace('_', ' ')} {metric.show(baseline.value)}"
                for baseline in metric.baselines
            ),
        )
        for metric in read_metrics(result.metrics, unit=result.unit)
    )
    return _table(("metric", "model", "95 % interval", "without a model"), rows)


def _describe_candidates(result: TrainingResult) -> str:
    def show(number: float) -> str:
        return f"{number:.5g}"

    rows = (
        (
            f"{candidate.name}, chosen" if candidate.name == result.chosen else candidate.name,
            show(candidate.loss),
            " to ".join(map(show, fold_interval(candidate))),
            f"{candidate.trials}",
            describe_parameters(candidate.parameters),
        )
        for candidate in result.candidates
    )
    header = ("candidate", "loss", "± one standard error", "trials", "parameters")
    how = f"{as_sentence(result.rule)} Loss: {as_sentence(result.loss_name)}"
    return f"{_plain(how)}\n\n{_table(header, rows)}"


def _describe_features(result: TrainingResult) -> str:
    rows = (
        (
            str(feature),
            "number" if pd.api.types.is_numeric_dtype(column.dtype) else "text",
            describe_range(column),
            f"{float(np.mean(column.isna())):.1%}",
            result.feature_descriptions.get(str(feature), ""),
        )
        for feature, column in result.sample.items()
    )
    return _table(("feature", "kind", "in training", "missing", "what"), rows)


def _describe_reproduction(config: TrainingConfig) -> str:
    settings = render_config(config).decode("utf-8")
    return "\n\n".join(
        [
            "The same table, the settings of training.toml and the libraries below give the same bundle, "
            "byte for byte apart from the time stamp of its manifest.",
            _code([settings]),
            _table(("library", "version"), library_versions().items()),
        ]
    )


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that can change a model's numbers."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(as_sentence(sentence))}" for sentence in sentences)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = [_plain(name) for name in header]
    lines = [names, ["---"] * len(names), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text on one line, with the marks of Markdown and HTML escaped."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))
