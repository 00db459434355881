"""Files of models and samples are scored as the library scores the model and its own rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from click.testing import CliRunner
from numpy.typing import NDArray

from scorewire_contract.bundle import read_bundle
from scorewire_training.cli.export import export
from scorewire_training.cli.verify import verify
from tests.scored_bundles import score_rows
from tests.scorewire_training.export.saved_models.test_categories import NAMES, without_categories

COUNT = 240
CATEGORIES: dict[str, list[Any]] = {"integers": [30, 10, 20], "texts": ["b", "a", "c"], **NAMES}
LIGHTGBM = {"verbose": -1, "min_data_per_group": 1, "cat_smooth": 0, "min_data_in_leaf": 2, "num_threads": 1}


def frame_of(categories: list[Any]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kinds = pd.Categorical.from_codes(rng.integers(-1, len(categories), COUNT), categories=categories)
    return pd.DataFrame({"kind": kinds, "size": rng.normal(size=COUNT), "age": rng.integers(18, 80, COUNT)})


def target_of(frame: pd.DataFrame) -> NDArray[np.float64]:
    kinds = frame["kind"].cat.codes % 2 if "kind" in frame else 0
    return np.asarray(kinds + frame["size"] + frame["age"] / 40, dtype=np.float64)


class Folder:
    """A folder in which the command exports models."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def output(self) -> str:
        return self.result.output

    def export(self, model: Any, sample: pd.DataFrame, *options: str, parquet: bool = False) -> bool:
        """Save a model and a sample and export them; returns whether a bundle was written."""
        file = self.path / ("model.txt" if isinstance(model, lightgbm.Booster) else "model.json")
        model.save_model(file)
        rows = self.path / ("rows.parquet" if parquet else "rows.csv")
        sample.to_parquet(rows) if parquet else sample.to_csv(rows, index=False)
        models = self.path / f"models{len(list(self.path.iterdir()))}"
        arguments = [str(file), "--sample", str(rows), "--name", "m", "--version", "1.0.0"]
        self.result = CliRunner(env={"COLUMNS": "300"}).invoke(
            export, [*arguments, "--output", str(models), *options]
        )
        self.bundle = models / "m" / "1.0.0"
        return self.bundle.exists()

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The bundle's scores for a caller's rows: the probability of the second class, or the value."""
        scores = score_rows(self.bundle, frame)
        assert not scores.errors
        return np.asarray(scores.outputs[0][:, -1])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def assert_same(found: NDArray[np.float64], wanted: Any) -> None:
    np.testing.assert_allclose(found, np.asarray(wanted, dtype=np.float64), rtol=5e-6, atol=5e-6)


def xgboost_of(frame: pd.DataFrame, **settings: Any) -> xgboost.Booster:
    data = xgboost.DMatrix(frame, target_of(frame), enable_categorical=True)
    return xgboost.train({"max_depth": 4, "nthread": 1, **settings}, data, 4)


def lightgbm_of(frame: pd.DataFrame, categorical: Any = "auto", **settings: Any) -> lightgbm.Booster:
    data = lightgbm.Dataset(frame, target_of(frame), categorical_feature=categorical)
    return lightgbm.train({**LIGHTGBM, **settings}, data, 4)


def categories_file(folder: Folder, content: object) -> str:
    path = folder.path / "categories.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "old"), [*((kind, False) for kind in CATEGORIES), ("integers", True), ("Chinese", True)]
)
def test_xgboosts_categories_score_as_in_training(kind: str, old: bool, folder: Folder) -> None:
    names = CATEGORIES[kind]
    frame = frame_of(names)
    trained = xgboost_of(frame)
    model = without_categories(trained) if old else trained
    wanted = trained.predict(xgboost.DMatrix(frame, enable_categorical=True))
    if old:
        assert not folder.export(model, frame)
        assert "no categories of 'kind'" in folder.output
        assert "--categories FILE" in folder.output
    assert folder.export(model, frame, "--categories", categories_file(folder, {"kind": names}))
    assert_same(folder.score(frame), wanted)
    if isinstance(names[0], str):
        # Parquet does not store that numbers were categories.
        assert folder.export(model, frame, parquet=True)
        assert_same(folder.score(frame), wanted)
    if old:
        codes = frame.assign(kind=frame["kind"].cat.codes.astype(np.float64).replace(-1, np.nan))
        assert folder.export(model, codes, "--categories", categories_file(folder, {"kind": "codes"}))
        assert_same(folder.score(codes), wanted)


def test_categories_of_a_sample_in_another_order_are_the_models(folder: Folder) -> None:
    frame = frame_of(["b", "a", "c"])
    other = frame.assign(kind=frame["kind"].cat.reorder_categories(["c", "a", "b"]))
    for model, wanted in (
        (booster := xgboost_of(frame), booster.predict(xgboost.DMatrix(frame, enable_categorical=True))),
        (gbm := lightgbm_of(frame), gbm.predict(frame)),
    ):
        assert folder.export(model, other, parquet=True), folder.output
        assert_same(folder.score(frame), wanted)


def test_lightgbms_categories_are_those_of_the_column_that_the_user_says(folder: Folder) -> None:
    frame = frame_of([2, 1, 3])
    frame.insert(0, "code", np.arange(COUNT) % 3)
    frame["code"] = frame["code"].replace(0, 2)
    model = lightgbm_of(frame, ["code", "kind"])
    assert not folder.export(model, frame)
    assert "can be of more columns than one" in folder.output
    assert folder.export(model, frame, "--categories", categories_file(folder, {"kind": [2, 1, 3]}))
    assert_same(folder.score(frame), model.predict(frame))


def test_truths_as_categories_and_as_numbers_score_as_in_training(folder: Folder) -> None:
    frame = frame_of([True, False]).assign(member=np.arange(COUNT) % 3 == 0)
    gbm = lightgbm_of(frame)
    assert not folder.export(gbm, frame)
    assert "can be of more columns than one" in folder.output
    assert folder.export(gbm, frame, "--categories", categories_file(folder, {"kind": [True, False]}))
    assert_same(folder.score(frame), gbm.predict(frame))
    frame = frame.drop(columns="kind")
    booster = xgboost_of(frame)
    assert folder.export(booster, frame), folder.output
    assert_same(folder.score(frame), booster.predict(xgboost.DMatrix(frame)))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_texts_that_are_no_category_are_told_and_score_as_missing(library: str, folder: Folder) -> None:
    frame = frame_of(["a", "b", "c"])
    model = xgboost_of(frame) if library == "xgboost" else lightgbm_of(frame)
    strange = frame.assign(kind=frame["kind"].astype(object))
    strange.loc[:3, "kind"] = "new"
    assert folder.export(model, strange), folder.output
    assert "Scored as missing, since the model has no such category of 'kind': new" in folder.output
    missing = frame.assign(kind=frame["kind"].where(np.arange(COUNT) > 3))
    wanted = (
        model.predict(xgboost.DMatrix(missing, enable_categorical=True))
        if isinstance(model, xgboost.Booster)
        else model.predict(missing)
    )
    assert_same(folder.score(strange), wanted)


def test_a_column_without_any_of_its_categories_is_refused(folder: Folder) -> None:
    frame = frame_of(["1", "2", "3"])
    model = xgboost_of(frame)
    numbers = frame.assign(kind=frame["kind"].cat.codes)
    assert not folder.export(model, numbers, parquet=True)
    assert "none of it is a category of the model, such as '1'" in folder.output


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_sample_of_categories_for_a_model_of_numbers_is_refused(library: str, folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    model = xgboost_of(frame) if library == "xgboost" else lightgbm_of(frame)
    typed = frame.assign(age=pd.Categorical(frame["age"].astype(str)))
    assert not folder.export(model, typed, parquet=True)
    assert "Error: " in folder.output
    if library == "xgboost":
        assert "fitted on numbers in 'age', and the sample has categories" in folder.output


def test_an_empty_category_is_told_from_missing_only_by_its_dtype(folder: Folder) -> None:
    frame = frame_of(["", "a", "b"])
    frame["kind"] = frame["kind"].fillna("")
    model = lightgbm_of(frame)
    assert folder.export(model, frame), folder.output
    assert "Read as the category '' of 'kind', and not as missing: empty cells" in folder.output
    assert_same(folder.score(frame), model.predict(frame))


def test_columns_are_found_by_name_in_any_order_beside_others(folder: Folder) -> None:
    frame = frame_of(["a", "b"]).drop(columns="kind").rename(columns={"size": "size in m"})
    target = np.asarray(frame["size in m"] + frame["age"] / 40)
    shuffled = frame.assign(id=range(COUNT))[["id", "age", "size in m"]]
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, target), 4)
    assert folder.export(booster, shuffled)
    assert_same(folder.score(shuffled), booster.predict(xgboost.DMatrix(frame)))
    gbm = lightgbm.train(LIGHTGBM, lightgbm.Dataset(frame, target), 4)
    assert folder.export(gbm, shuffled)
    assert "Left out, since the model does not know them: id" in folder.output
    assert_same(folder.score(shuffled), gbm.predict(frame))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_file_without_names_takes_the_columns_in_their_order_and_says_so(
    library: str, folder: Folder
) -> None:
    frame = frame_of(["a"]).drop(columns="kind").astype(np.float64)
    model: Any
    if library == "xgboost":
        model = xgboost.train({"nthread": 1}, xgboost.DMatrix(frame.to_numpy(), target_of(frame)), 4)
        wanted = model.predict(xgboost.DMatrix(frame.to_numpy()))
    else:
        model = lightgbm.train(LIGHTGBM, lightgbm.Dataset(frame.to_numpy(), target_of(frame)), 4)
        wanted = model.predict(frame.to_numpy())
    assert folder.export(model, frame), folder.output
    assert "names of columns; the sample's were taken in their order: size, age" in folder.output
    assert_same(folder.score(frame), wanted)
    assert not folder.export(model, frame.assign(target=1.0))
    assert "fitted on 2 columns without names, the sample has 3" in folder.output
    assert folder.export(model, frame.assign(target=1.0), "--target-column", "target")


@pytest.mark.parametrize("kind", ["booster", "estimator"])
def test_the_number_for_missing_is_given_beside_the_file(kind: str, folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    target = target_of(frame)
    frame.loc[::3, "size"] = -999.5
    model: Any
    if kind == "booster":
        model = xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, target, missing=-999.5), 4)
        wanted = model.predict(xgboost.DMatrix(frame, missing=-999.5))
        plain = model.predict(xgboost.DMatrix(frame))
    else:
        model = xgboost.XGBRegressor(n_estimators=4, missing=-999.5, n_jobs=1).fit(frame, target)
        wanted = model.predict(frame)
        plain = model.get_booster().predict(xgboost.DMatrix(frame))
    assert folder.export(model, frame, "--missing", "-999.5"), folder.output
    assert "missing=-999.5" in read_bundle(folder.bundle).manifest.provenance.family
    assert "--missing" not in folder.output
    assert_same(folder.score(frame), wanted)
    assert not np.allclose(wanted, plain)
    assert folder.export(model, frame)
    assert (
        "Not in the file: a number that means missing in addition to NaN; --missing sets one" in folder.output
    )
    assert_same(folder.score(frame), plain)


def test_lightgbm_takes_no_number_for_missing(folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    assert not folder.export(lightgbm_of(frame), frame, "--missing", "-1")
    assert "only XGBoost takes it" in folder.output


def test_a_booster_that_stopped_early_uses_all_its_trees_and_says_so(folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    target = (frame["size"] + np.random.default_rng(1).normal(size=COUNT) > 0).astype(int)
    half = COUNT // 2
    booster = xgboost.train(
        {"nthread": 1, "objective": "binary:logistic"},
        xgboost.DMatrix(frame[:half], target[:half]),
        60,
        evals=[(xgboost.DMatrix(frame[half:], target[half:]), "held_out")],
        early_stopping_rounds=4,
        verbose_eval=False,
    )
    best, rounds = booster.best_iteration + 1, booster.num_boosted_rounds()
    assert best < rounds
    assert folder.export(booster, frame)
    assert f"The best of {rounds} rounds was number {best}, and all are used" in folder.output
    assert f"booster[: {best}]" in folder.output
    assert_same(folder.score(frame), booster.predict(xgboost.DMatrix(frame)))
    assert folder.export(booster[:best], frame)
    assert "rounds was number" not in folder.output
    wanted = booster.predict(xgboost.DMatrix(frame), iteration_range=(0, best))
    assert_same(folder.score(frame), wanted)


def squares(predicted: NDArray[np.float64], data: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A custom objective, which no file names."""
    return predicted - data.get_label(), np.ones(len(predicted))


def _custom_xgboost(frame: pd.DataFrame) -> xgboost.Booster:
    data = xgboost.DMatrix(frame, target_of(frame))
    return xgboost.train({"nthread": 1, "base_score": 0.3}, data, 4, obj=squares)


def _logistic(frame: pd.DataFrame, **settings: Any) -> xgboost.Booster:
    data = xgboost.DMatrix(frame, target_of(frame) > target_of(frame).mean())
    return xgboost.train({"nthread": 1, "objective": "binary:logistic", **settings}, data, 4)


def _binary(frame: pd.DataFrame, **settings: Any) -> lightgbm.Booster:
    data = lightgbm.Dataset(frame, target_of(frame) > target_of(frame).mean())
    return lightgbm.train({**LIGHTGBM, "objective": "binary", **settings}, data, 4)


@pytest.mark.parametrize(
    "fit",
    [
        _custom_xgboost,
        lambda frame: _logistic(frame, num_parallel_tree=3, subsample=0.5),
        lambda frame: _logistic(frame, base_score=0.9),
        lambda frame: lightgbm_of(frame, objective=squares),
        lambda frame: lightgbm_of(frame, boosting="rf", bagging_fraction=0.5, bagging_freq=1),
        lambda frame: _binary(frame, sigmoid=0.3),
        lambda frame: _binary(frame, boosting="rf", bagging_fraction=0.5, bagging_freq=1),
        lambda frame: _binary(frame, zero_as_missing=True),
    ],
    ids=[
        "XGBoost, custom",
        "XGBoost, parallel trees",
        "XGBoost, base score",
        "LightGBM, custom",
        "LightGBM, rf",
        "LightGBM, sigmoid",
        "LightGBM, rf of two classes",
        "LightGBM, zero as missing",
    ],
)
def test_settings_in_the_file_are_read_as_the_library_reads_them(
    fit: Callable[[pd.DataFrame], xgboost.Booster | lightgbm.Booster], folder: Folder
) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    frame.loc[::7, "size"] = 0.0
    assert folder.export(fit(frame), frame), folder.output
    # Scored by the library, from the file that the command read.
    file = folder.path / "model.json"
    if file.exists():
        wanted = xgboost.Booster(model_file=file).predict(xgboost.DMatrix(frame))
    else:
        wanted = lightgbm.Booster(model_file=folder.path / "model.txt").predict(frame)
    assert_same(folder.score(frame), wanted)


def test_stages_are_told_on_stderr_alone(folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind")
    assert folder.export(xgboost_of(frame), frame)
    result = folder.result
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == "Reading the model and the sample ..."
    assert lines[-1] == "Writing the bundle ..."
    assert len(lines) == len(set(lines))
    assert "..." not in result.stdout
    verified = CliRunner().invoke(verify, [str(folder.bundle)])
    assert verified.stderr.startswith("Checking ")
    assert "Checking" not in verified.stdout


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_columns_that_no_tree_of_a_file_asks_for_may_be_missing(library: str, folder: Folder) -> None:
    frame = frame_of(["a"]).drop(columns="kind").assign(never=1.0)
    model: Any
    if library == "xgboost":
        model = xgboost_of(frame)
        wanted = model.predict(xgboost.DMatrix(frame))
    else:
        model = lightgbm_of(frame)
        wanted = model.predict(frame)
    assert folder.export(model, frame.assign(when=pd.date_range("2024-01-01", periods=COUNT))), folder.output
    assert folder.result.exit_code == 0
    assert "Left out, since the model does not know them: when" in folder.output
    verified = CliRunner().invoke(verify, [str(folder.bundle)])
    assert verified.exit_code == 0, verified.output
    features = read_bundle(folder.bundle).manifest.schema.features
    # The file counts its columns, and a caller may leave out columns that no tree reads.
    assert [feature.name for feature in features] == ["size", "age", "never"]
    assert features[2].missing_allowed
    assert_same(folder.score(frame.assign(never=np.nan)), wanted)
