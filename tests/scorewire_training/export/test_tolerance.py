"""The tolerances that a user may give, and what a refusal says about them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_contract.scoring import GoldenMismatchError, score_golden
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.cli.export import export
from scorewire_training.cli.verify import verify
from scorewire_training.export import ExportError, ParityError, Tolerance, export_bundle
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedModel
from scorewire_training.export.runtime import open_graph
from scorewire_training.export.tolerance import Tolerances, choose_tolerances, resolve_tolerance, widened

VALUE = ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="v", width=1)
OUTPUTS = [
    ("probabilities", schema_pb2.OUTPUT_KIND_PROBABILITY),
    ("label", schema_pb2.OUTPUT_KIND_CLASS),
    ("text", schema_pb2.OUTPUT_KIND_TEXT),
]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["a", "b"])


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> xgboost.XGBRegressor:
    """A model whose scores differ a little from those of a changed graph."""
    target = np.exp(frame["a"])
    return xgboost.XGBRegressor(n_estimators=4, max_depth=2, objective="reg:gamma").fit(frame, target)


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change all scores of the fitted model by a relative 1.2e-5, as if it rounded differently."""
    score = FittedModel.score

    def score_otherwise(self: FittedModel, frame: pd.DataFrame) -> list[NDArray[np.float64]]:
        return [values * (1 + 1.2e-5) for values in score(self, frame)]

    monkeypatch.setattr(FittedModel, "score", score_otherwise)


def _export(model: object, frame: pd.DataFrame, folder: Path, tolerance: Tolerances = None) -> Bundle:
    exported = export_bundle(
        model, sample=frame, name="m", version="1.0.0", output_dir=folder, tolerance=tolerance
    )
    return read_bundle(exported.path)


@pytest.mark.usefixtures("rounded")
def test_a_refusal_names_the_tolerance_that_is_enough(
    model: xgboost.XGBRegressor, frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ParityError) as refusal:
        _export(model, frame, tmp_path)
    message = str(refusal.value)
    assert list(tmp_path.iterdir()) == []
    option = re.search(r"--tolerance value=(\S+) on the command line", message)
    assert option
    relative = float(option[1])
    # The absolute part of the default tolerance grows with the relative part.
    assert 5e-6 < relative < 1.3e-5
    assert f'tolerance={{"value": Tolerance(relative={relative}, absolute=None)}}' in message
    bundle = _export(model, frame, tmp_path, {"value": Tolerance(relative)})
    assert score_golden(bundle, open_graph(bundle.graph))


@pytest.mark.usefixtures("rounded")
def test_a_tolerance_is_recorded_shown_and_held_to(
    model: xgboost.XGBRegressor, frame: pd.DataFrame, tmp_path: Path
) -> None:
    model.save_model(tmp_path / "model.json")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    arguments = [
        *(str(tmp_path / "model.json"), "--sample", str(tmp_path / "rows.csv")),
        *("--name", "m", "--version", "1.0.0", "--output", str(tmp_path / "models")),
    ]
    runner = CliRunner(env={"COLUMNS": "200"})
    refused = runner.invoke(export, arguments)
    assert refused.exit_code == 1
    assert "--tolerance value=" in refused.output
    result = runner.invoke(export, [*arguments, "--tolerance", "value=1.3e-05,1e-07"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "models" / "m" / "1.0.0"
    told = "1.3e-05 relative, 1e-07 absolute, as given at export"
    assert told in result.output
    assert told in runner.invoke(verify, [str(path)]).output
    bundle = read_bundle(path)
    wanted = manifest_pb2.Tolerance(relative=1.3e-5, absolute=1e-7)
    assert bundle.manifest.parity.output_tolerances["value"] == wanted
    assert bundle.golden.output_tolerances["value"] == wanted
    assert score_golden(bundle, open_graph(bundle.graph))
    bundle.golden.output_tolerances["value"].relative = 1e-6
    with pytest.raises(GoldenMismatchError, match=r"golden row \d+: value"):
        score_golden(bundle, open_graph(bundle.graph))


def test_a_bundle_of_the_gates_own_rule_says_nothing_new(
    model: xgboost.XGBRegressor, frame: pd.DataFrame, tmp_path: Path
) -> None:
    bundle = _export(model, frame, tmp_path)
    assert not bundle.manifest.parity.output_tolerances
    assert not bundle.golden.output_tolerances
    assert "tolerance of" not in CliRunner().invoke(verify, [str(bundle.path)]).output


@pytest.mark.usefixtures("rounded")
def test_a_difference_that_is_no_rounding_gets_no_tolerance_named(
    model: xgboost.XGBRegressor, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = FittedModel.score
    monkeypatch.setattr(FittedModel, "score", lambda self, rows: [v * 1.5 for v in score(self, rows)])
    with pytest.raises(ParityError) as refusal:
        _export(model, frame, tmp_path)
    assert "--tolerance" not in str(refusal.value)
    assert "What helps" in str(refusal.value)


@pytest.mark.parametrize(
    ("relative", "absolute", "message"),
    [
        (0.1, None, "from 0 to 0.001: scores that differ by more than that are wrong"),
        (-1.0, None, "from 0 to 0.001"),
        (np.nan, None, "from 0 to 0.001"),
        (0.0, np.inf, "not a finite number"),
        (0.0, -1.0, "not a finite number"),
    ],
)
def test_absurd_tolerances_are_refused(relative: float, absolute: float | None, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Tolerance(relative, absolute)


def test_an_absolute_tolerance_is_held_against_the_answers() -> None:
    answers = np.array([[0.0], [200.0], [np.inf]])  # of standard deviation 100
    assert resolve_tolerance(Tolerance(0.0, 0.1), VALUE, answers) == [manifest_pb2.Tolerance(absolute=0.1)]
    with pytest.raises(ExportError, match=r"0.2 for 'value' is over 0.1.*a wrong model would pass"):
        resolve_tolerance(Tolerance(0.0, 0.2), VALUE, answers)


def test_the_gates_own_rule_is_a_share_of_the_deviation() -> None:
    answers = np.array([[0.0], [200.0]])
    (own,) = resolve_tolerance(None, VALUE, answers)
    assert (own.relative, own.absolute) == (5e-6, pytest.approx(5e-4))
    (wider,) = resolve_tolerance(Tolerance(2e-5), VALUE, answers)
    assert (wider.relative, wider.absolute) == (2e-5, pytest.approx(2e-3))


def test_classes_and_texts_are_never_tolerated() -> None:
    given = Tolerance(1e-4)
    assert choose_tolerances(given, OUTPUTS) == {"probabilities": given}
    for name in ("label", "text"):
        with pytest.raises(ExportError, match=f"'{name}', whose values must be equal"):
            choose_tolerances({name: given}, OUTPUTS)
    with pytest.raises(ExportError, match="'score', which is not an output: probabilities, label, text"):
        choose_tolerances({"score": given}, OUTPUTS)


def test_a_golden_class_must_be_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    classifier = xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(frame, (frame["a"] > 0).astype(int))
    bundle = _export(classifier, frame, tmp_path)
    golden = manifest_pb2.Golden()
    golden.CopyFrom(bundle.golden)
    golden.tolerance.absolute = golden.tolerance.relative = 0.01
    label = next(output for output in golden.expected.outputs if output.name == "label")
    assert score_golden(replace(bundle, golden=golden), open_graph(bundle.graph))
    label.numbers[0] = 1 - label.numbers[0]
    with pytest.raises(GoldenMismatchError, match=r"golden row 0: label"):
        score_golden(replace(bundle, golden=golden), open_graph(bundle.graph))


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(1.03, 5.2e-6), (2.02, 1.1e-5), (199.0, 1e-3), (1e3, None), (np.inf, None), (np.nan, None)],
)
def test_tolerances_are_rounded_up_to_two_digits(share: float, wanted: float | None) -> None:
    assert widened(None, share) == (None if wanted is None else Tolerance(wanted))
    wider = widened(Tolerance(1e-6, 1e-3), 1.001)
    assert wider == Tolerance(1.1e-6, 1.1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["much"], "'much' is not like 2e-5"),
        (["value=1e-5,2,3"], "not like 2e-5"),
        (["0.5"], "0.5 is not from 0 to 0.001"),
        (["1e-5", "value=1e-5"], "one for all outputs, or one by output"),
        (["value=1e-5", "value=1e-5"], "one for all outputs, or one by output"),
    ],
)
def test_options_that_are_no_tolerances_are_errors(given: list[str], message: str, tmp_path: Path) -> None:
    for name in ("model.json", "rows.csv"):
        (tmp_path / name).write_text("")
    arguments = [str(tmp_path / "model.json"), "--sample", str(tmp_path / "rows.csv")]
    options = [part for text in given for part in ("--tolerance", text)]
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(export, [*arguments, "--name", "m", "--version", "1.0.0", *options])
    assert result.exit_code == 2
    assert message in result.output
