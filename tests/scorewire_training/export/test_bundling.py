"""The whole export, with models small enough to be fitted here."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import numpy_helper
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)

from scorewire_contract.bundle import read_bundle
from scorewire_contract.scoring import score_golden
from scorewire_proto.v1 import errors_pb2, schema_pb2
from scorewire_training import export_bundle
from scorewire_training.export import ExportError, ParityError, UnsupportedModelError, bundling
from scorewire_training.export.lowering import LoweredModel
from scorewire_training.export.runtime import open_graph

NUMBERS = ["age", "income", "score"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    count = 300
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, count),
            "income": rng.lognormal(10, 1, count),
            "score": np.where(rng.random(count) < 0.15, np.nan, rng.normal(size=count)),
            "country": rng.choice(["de", "pe", "fr"], count),
        }
    )
    return frame.astype({"country": object})


@pytest.fixture(scope="module")
def target(frame: pd.DataFrame) -> Any:
    return ((frame["age"] > 40) ^ (frame["income"] > 20_000) ^ (frame["country"] == "de")).astype(int)


@pytest.fixture(scope="module")
def booster(frame: pd.DataFrame, target: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=5).fit(frame[NUMBERS], target)


@pytest.fixture(scope="module")
def strict_pipeline(frame: pd.DataFrame, target: Any) -> Any:
    """A pipeline that refuses a missing age or income, an unknown country, and infinities."""
    encode = make_column_transformer(
        (StandardScaler(), ["age", "income"]),
        (SimpleImputer(), ["score"]),
        (OneHotEncoder(), ["country"]),
    )
    return make_pipeline(encode, LogisticRegression()).fit(frame, target)


def _export(model: Any, rows: pd.DataFrame, output_dir: Path, **arguments: Any) -> Any:
    return export_bundle(
        model, **{"sample": rows, "name": "m", "version": "1.0.0", "output_dir": output_dir, **arguments}
    )


def test_bundle_has_schema_provenance_parity_and_metrics(
    strict_pipeline: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    exported = _export(
        strict_pipeline,
        frame,
        tmp_path,
        description="Who buys.",
        metrics={"auc": 0.75},
        feature_descriptions={"age": "in years"},
    )
    assert exported.path == tmp_path / "m" / "1.0.0"
    manifest = read_bundle(exported.path).manifest
    assert manifest == exported.manifest
    assert manifest.description == "Who buys."
    assert dict(manifest.metrics) == {"auc": 0.75}
    features = {feature.name: feature for feature in manifest.schema.features}
    assert list(features) == [*NUMBERS, "country"]
    assert features["age"].description == "in years"
    assert (features["age"].minimum, features["age"].maximum) == (frame["age"].min(), frame["age"].max())
    assert features["score"].missing_share == pytest.approx(frame["score"].isna().mean())
    assert features["country"].kind == schema_pb2.FEATURE_KIND_TEXT
    assert features["country"].vocabulary_size == 3
    assert [output.name for output in manifest.schema.outputs] == ["probabilities", "label"]
    assert list(manifest.schema.outputs[0].class_labels) == ["0", "1"]
    versions = manifest.provenance.library_versions
    assert versions["xgboost"] == xgboost.__version__
    assert {"scikit-learn", "lightgbm", "skl2onnx", "onnx", "onnxruntime", "numpy", "pandas"} <= set(versions)
    assert manifest.provenance.sample_rows == len(frame)
    parity = manifest.parity
    assert parity == exported.parity.to_message()
    assert parity.rows_compared == sum(parity.rows_by_origin.values())
    assert parity.rows_by_origin["sample"] == len(frame)
    assert parity.rows_refused > 0
    assert 0 < parity.worst_share_of_tolerance <= 1


def test_what_the_model_refuses_the_bundle_refuses(
    strict_pipeline: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    exported = _export(strict_pipeline, frame, tmp_path)
    features = {feature.name: feature for feature in exported.manifest.schema.features}
    assert {name: feature.missing_allowed for name, feature in features.items()} == {
        "age": False,
        "income": False,
        "score": True,
        "country": False,
    }
    assert not features["country"].unknown_allowed
    assert features["age"].magnitude_limit == np.finfo(np.float64).max
    golden = read_bundle(exported.path).golden
    assert {error.reason for error in golden.expected.errors} == {
        errors_pb2.ERROR_REASON_MISSING_VALUE,
        errors_pb2.ERROR_REASON_NUMBER_OUT_OF_RANGE,
        errors_pb2.ERROR_REASON_UNKNOWN_TEXT,
    }


def test_float32_models_refuse_what_float32_cannot_hold(
    frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    forest = RandomForestClassifier(3, max_depth=4, random_state=0).fit(frame[["age", "income"]], target)
    exported = _export(forest, frame[["age", "income"]], tmp_path)
    limits = {feature.magnitude_limit for feature in exported.manifest.schema.features}
    assert limits == {float(np.nextafter(2.0**128 - 2.0**103, 0))}


def test_golden_rows_are_few_hard_and_right(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path
) -> None:
    bundle = read_bundle(_export(booster, frame[NUMBERS], tmp_path).path)
    rows = bundle.golden.rows
    assert 32 <= rows.row_count <= 64
    numbers = np.array(rows.numbers).reshape(rows.row_count, -1)
    assert np.isnan(numbers).all(axis=1).any()
    assert np.isposinf(numbers).any()
    assert (bundle.golden.expected.model, bundle.golden.expected.version) == ("m", "1.0.0")
    probabilities = np.array(bundle.golden.expected.outputs[0].numbers).reshape(-1, 2)
    asked = booster.predict_proba(pd.DataFrame(numbers, columns=NUMBERS))
    np.testing.assert_allclose(probabilities, asked, rtol=1e-6)
    assert score_golden(bundle, open_graph(bundle.graph)) == rows.row_count


def test_the_same_model_and_sample_give_the_same_bytes(
    strict_pipeline: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    paths = [_export(strict_pipeline, frame, tmp_path / name).path for name in "ab"]
    for name in ("model.onnx", "golden.json"):
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()
    manifests = [json.loads((path / "manifest.json").read_text()) for path in paths]
    for manifest in manifests:
        assert manifest.pop("createdAt")
    assert manifests[0] == manifests[1]


def test_data_fingerprint_follows_the_data(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path
) -> None:
    changed = frame[NUMBERS].copy()
    changed.loc[5, "income"] += 1
    versions = (f"1.0.{i}" for i in itertools.count())
    prints = [
        _export(booster, sample, tmp_path, version=next(versions)).manifest.provenance.data_fingerprint
        for sample in (frame[NUMBERS], frame[NUMBERS].astype({"age": "float64"}), changed)
    ]
    assert re.fullmatch("[0-9a-f]{64}", prints[0])
    assert prints[0] == prints[1] != prints[2]


@pytest.fixture
def exporting(booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path) -> Callable[[], Any]:
    return lambda: _export(booster, frame[NUMBERS], tmp_path)


Break = Callable[[onnx.ModelProto], None]


def _negate_leaves(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "leaf_weights":
                weights = -numpy_helper.to_array(attribute.t)
                attribute.t.CopyFrom(numpy_helper.from_array(weights, attribute.t.name))


def _nudge_a_threshold(graph: onnx.ModelProto) -> None:
    """Change the first number by one step of its type."""
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_splits":
                splits = numpy_helper.to_array(attribute.t).copy()
                first = np.flatnonzero(splits)[0]
                splits[first] = np.nextafter(splits[first], splits.dtype.type(np.inf))
                attribute.t.CopyFrom(numpy_helper.from_array(splits, attribute.t.name))


def _send_missing_left(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_missing_value_tracks_true":
                attribute.ints[:] = [1] * len(attribute.ints)


@pytest.mark.parametrize(
    ("break_graph", "origin"),
    [
        (_negate_leaves, "sample"),
        (_nudge_a_threshold, "threshold"),
        (_send_missing_left, "missing"),
    ],
)
def test_a_graph_that_differs_is_not_written(
    break_graph: Break,
    origin: str,
    exporting: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = bundling.lower

    def wrong(model: object, sample: pd.DataFrame) -> LoweredModel:
        lowered = right(model, sample)
        before = lowered.graph.SerializeToString()
        break_graph(lowered.graph)
        assert lowered.graph.SerializeToString() != before
        return lowered

    monkeypatch.setattr(bundling, "lower", wrong)
    with pytest.raises(ParityError) as failure:
        exporting()
    lines = str(failure.value).splitlines()
    assert re.search(rf"\b{origin} \d+ of \d+", lines[0])
    assert re.split(" {2,}", lines[1]) == [
        "row",
        "origin",
        "change",
        "output",
        "fitted model",
        "bundle",
        "x tolerance",
    ]
    assert "probabilities" in lines[2]
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_threshold_behind_a_scaler_is_found(
    frame: pd.DataFrame, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=1, num_leaves=2, verbose=-1))
    model.fit(frame[["age", "income"]], target)
    exported = _export(model, frame[["age", "income"]], tmp_path)
    assert exported.parity.rows_by_origin["jump"] > 0
    right = bundling.lower

    def wrong(model: object, sample: pd.DataFrame) -> LoweredModel:
        lowered = right(model, sample)
        _nudge_a_threshold(lowered.graph)
        return lowered

    monkeypatch.setattr(bundling, "lower", wrong)
    # Changed by one step of float64, which no row of the sample reaches.
    with pytest.raises(ParityError, match=r"\(jump \d+ of \d+\)"):
        _export(model, frame[["age", "income"]], tmp_path, version="1.0.1")


def test_a_limit_of_one_sign_bars_that_alone(frame: pd.DataFrame, target: Any, tmp_path: Path) -> None:
    # The power grows faster on one side of zero and overflows only there.
    model = make_pipeline(PowerTransformer(), LogisticRegression()).fit(frame[["income"]], target)
    exported = _export(model, frame[["income"]], tmp_path)
    feature = exported.manifest.schema.features[0]
    assert -np.finfo(np.float64).max < feature.lower_limit < -1e39
    assert feature.magnitude_limit == np.finfo(np.float64).max


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_an_encoder_tells_unknown_texts_of_a_categorical_column_from_missing_ones(
    unknown: str, frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    rows = frame[["age", "country"]]
    rows = rows.assign(country=rows["country"].where(rows.index % 5 > 0, None).astype("category"))
    encode = make_column_transformer((OneHotEncoder(handle_unknown=unknown), ["country"]))
    exported = _export(make_pipeline(encode, LogisticRegression()).fit(rows, target), rows, tmp_path)
    country = next(f for f in exported.manifest.schema.features if f.name == "country")
    assert country.missing_allowed
    assert country.unknown_allowed == (unknown == "ignore")


@pytest.mark.parametrize("step", [PolynomialFeatures(3, interaction_only=True), PowerTransformer()], ids=str)
def test_what_overflows_far_out_does_not_bar_the_export(
    step: Any, frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    rows = frame[NUMBERS].fillna(0.0)
    exported = _export(make_pipeline(step, Ridge()).fit(rows, target), rows, tmp_path)
    for feature in exported.manifest.schema.features:
        assert feature.magnitude_limit > 1e38


def test_a_text_that_is_coded_wrong_is_found(
    strict_pipeline: Any, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bundling.lower

    def wrong(model: object, sample: pd.DataFrame) -> LoweredModel:
        lowered = right(model, sample)
        for vocabulary in lowered.coding.vocabularies:
            vocabulary.texts[:] = [text.upper() for text in vocabulary.texts]
        return lowered

    monkeypatch.setattr(bundling, "lower", wrong)
    with pytest.raises(ParityError, match=r"scored +refused"):
        _export(strict_pipeline, frame, tmp_path)


def test_an_output_in_another_order_is_found(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bundling.lower

    def wrong(model: object, sample: pd.DataFrame) -> LoweredModel:
        lowered = right(model, sample)
        outputs = tuple(
            dataclasses.replace(output, class_labels=output.class_labels[::-1]) for output in lowered.outputs
        )
        return dataclasses.replace(lowered, outputs=outputs)

    monkeypatch.setattr(bundling, "lower", wrong)
    with pytest.raises(ParityError, match=r"classes \['1', '0'\]"):
        _export(booster, frame[NUMBERS], tmp_path)


def test_an_interrupted_export_leaves_nothing(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundling.bundles, "read_bundle", fail)
    with pytest.raises(KeyboardInterrupt):
        _export(booster, frame[NUMBERS], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "No Name"}, "model name 'No Name'"),
        ({"version": "1"}, "version '1' is not semantic"),
        ({"sample": [[1.0]]}, "sample is a list: pass a pandas DataFrame"),
        ({"sample": pd.DataFrame({"age": []})}, "sample is empty"),
        ({"sample": pd.DataFrame([[1.0, 2.0]])}, "a column named 0: name columns by texts"),
        ({"sample": pd.DataFrame([[1.0, 2.0]], columns=["a", "a"])}, "two columns named 'a'"),
        ({"metrics": {"auc": float("nan")}}, "metric 'auc' is nan"),
        ({"feature_descriptions": {"aeg": "in years"}}, "describe 'aeg', which is not a feature"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any],
    message: str,
    booster: xgboost.XGBClassifier,
    frame: pd.DataFrame,
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match=message):
        _export(booster, frame[NUMBERS], tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_exists_is_refused_before_any_work(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m" / "1.0.0").mkdir(parents=True)
    monkeypatch.delattr(bundling, "lower")
    with pytest.raises(ExportError, match="choose another version"):
        _export(booster, frame[NUMBERS], tmp_path)


@pytest.mark.parametrize("folder", ["models", "models/mine", "."])
def test_a_file_in_the_way_is_refused_before_any_work(
    folder: str,
    booster: xgboost.XGBClassifier,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "models").touch()
    (tmp_path / "m").touch()
    monkeypatch.delattr(bundling, "lower")
    with pytest.raises(ExportError, match=r"(models|m) is not a folder"):
        _export(booster, frame[NUMBERS], tmp_path / folder)


def test_a_disk_that_is_full_is_an_error_of_the_export(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundling.bundles, "write_bundle", write)
    with pytest.raises(ExportError, match="No space left on device"):
        _export(booster, frame[NUMBERS], tmp_path)


def test_a_sample_that_the_model_does_not_score_is_refused(
    strict_pipeline: Any, frame: pd.DataFrame, tmp_path: Path
) -> None:
    sample = frame.copy()
    sample.loc[0, "income"] = np.nan
    with pytest.raises(ExportError, match=r"does not score the sample \(ValueError: .*NaN"):
        _export(strict_pipeline, sample, tmp_path)


def test_an_unknown_number_that_raises_is_unsupported(
    frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    model = make_pipeline(OrdinalEncoder(), LogisticRegression()).fit(frame[["age"]], target)
    with pytest.raises(UnsupportedModelError, match="ordinary numbers of 'age'"):
        _export(model, frame[["age"]], tmp_path)


def test_a_large_graph_is_warned_of(exporting: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "_LARGE_GRAPH_BYTES", 1_000)
    with pytest.warns(UserWarning, match=r"the graph has 0 MB: a server needs about 0\.0 GB of memory"):
        exporting()


def test_stages_are_reported(booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path) -> None:
    stages: list[str] = []
    _export(booster, frame[NUMBERS], tmp_path, progress=stages.append)
    # The progress of a stage stands in brackets.
    assert list(dict.fromkeys(stage.partition(" (")[0] for stage in stages[:-1])) == [
        "Turning the model into a graph",
        "Asking the fitted model what it refuses",
        "Finding how outputs follow from columns",
        "Making rows that are hard to score",
        "Looking for discontinuities of the fitted model's scores",
        "Scoring rows with the graph, forwards and backwards",
        "Asking the fitted model for its scores",
        "Comparing the graph with the fitted model",
        *(["Comparing the kernel with the fitted model"] if find_spec("scorewire_kernel") else []),
        "Comparing contributions of columns with the library's",
    ]
    assert stages[-1] == "Writing the bundle"


def test_a_large_sample_is_compared_in_part_and_described_in_full(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path
) -> None:
    sample = pd.concat([frame[NUMBERS]] * 70, ignore_index=True)
    sample.loc[len(sample) - 1, "income"] = 1e9
    exported = _export(booster, sample, tmp_path)
    assert exported.parity.rows_by_origin["sample"] == 20_000
    assert exported.manifest.provenance.sample_rows == 21_000
    assert exported.manifest.schema.features[1].maximum == 1e9


def test_lightgbm_with_categories_and_spare_columns_is_exported(
    frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    sample = frame.astype({"country": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(sample, target)
    exported = _export(model, sample, tmp_path)
    country = exported.manifest.schema.features[3]
    assert (country.kind, country.missing_allowed, country.unknown_allowed) == (
        schema_pb2.FEATURE_KIND_TEXT,
        True,
        True,
    )


def test_an_exported_bundle_is_shown_on_one_line(
    booster: xgboost.XGBClassifier, frame: pd.DataFrame, tmp_path: Path
) -> None:
    exported = export_bundle(booster, sample=frame[NUMBERS], name="b", version="1.0.0", output_dir=tmp_path)
    rows, path = f"{exported.parity.rows_compared:,}", str(exported.path)
    assert repr(exported) == f"ExportedBundle(b 1.0.0, 3 features, 2 outputs, equal on {rows} rows, {path=})"


def test_names_beyond_ascii_have_readable_fields_that_later_versions_keep(
    frame: pd.DataFrame, target: Any, tmp_path: Path
) -> None:
    named = frame[NUMBERS].rename(columns={"age": "Año", "income": "größe"})
    for version, columns in (("1.0.0", ["Año", "score"]), ("1.1.0", ["größe", "score", "Año"])):
        model = xgboost.XGBClassifier(n_estimators=5).fit(named[columns], target)
        exported = export_bundle(
            model, sample=named[columns], name="my-model", version=version, output_dir=tmp_path
        )
    text = (exported.path / "schema.proto").read_text(encoding="utf-8")
    assert "package scorewire.models.myModel.v1;" in text
    row = text.partition("Prediction {")[0]
    assert re.findall(r"optional double (\w+) = (\d+);", row) == [
        *(("Ano", "1"), ("score", "2"), ("grosse", "3")),
    ]
    assert "// Año. Seen: 18 to 79" in text
    assert read_bundle(exported.path).manifest.format_version >= 3
