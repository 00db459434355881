"""The export of ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from scorewire_contract.bundle import read_bundle
from scorewire_contract.scoring import Scorer, score_golden
from scorewire_proto.v1 import schema_pb2
from scorewire_training.cli.export import export
from scorewire_training.export import ExportError, Tolerance, UnsupportedModelError, export_onnx
from scorewire_training.export.runtime import open_graph
from tests.onnx_models import (
    write_mixed,
    write_reshaped,
    write_simple,
    write_simple_identity,
    write_simple_string,
    write_square,
)


def exported(path: Path, output: Path, **arguments: object) -> Scorer:
    """A scorer of a bundle, after a check of its golden rows."""
    bundle = read_bundle(
        export_onnx(path, name="m", version="1.0.0", output_dir=output, **arguments).path  # type: ignore[arg-type]  # passed on
    )
    run = open_graph(bundle.graph)
    assert score_golden(bundle, run)
    return Scorer(bundle.manifest.schema, bundle.manifest.coding, run)


def assert_refused(path: Path, reason: str) -> None:
    """Check that the export of a file is refused with a reason."""
    output = path.parent / "models"
    with pytest.raises(UnsupportedModelError, match=reason):
        export_onnx(path, name="m", version="1.0.0", output_dir=output)
    assert not output.exists()


def test_every_value_of_a_tensor_is_a_feature(tmp_path: Path) -> None:
    path = write_simple(tmp_path / "simple.onnx")
    manifest = export_onnx(path, name="simple", version="1.0.0", output_dir=tmp_path / "models").manifest
    features = manifest.schema.features
    assert [each.name for each in features[:2]] == ["INPUT0[0]", "INPUT0[1]"]
    assert len(features) == 32
    assert all(each.whole and not each.missing_allowed for each in features)
    assert [(each.name, each.datatype, list(each.dims)) for each in manifest.tensors.outputs] == [
        ("OUTPUT0", "INT32", [16]),
        ("OUTPUT1", "INT32", [16]),
    ]
    assert "no fitted model" in manifest.provenance.family


def test_numbers_of_every_kind_are_summed(tmp_path: Path) -> None:
    scorer = exported(write_mixed(tmp_path / "mixed.onnx"), tmp_path / "models")
    rows = np.array([[0.5, 0.25, 1, -3, 7, 2**40, 2**41], [1, 1, 0, 1, 1, 1, 1]])
    scores = scorer.score(2, rows.ravel(), [])
    sums = rows.sum(axis=1)
    assert scores.outputs[0].tolist() == [[total, 2 * total] for total in sums]


def test_texts_come_in_and_go_out(tmp_path: Path) -> None:
    scorer = exported(write_simple_string(tmp_path / "texts.onnx"), tmp_path / "models")
    scores = scorer.score(1, np.empty(0), [str(i) for i in range(32)])
    assert scores.outputs[0].tolist() == [[str(i + i + 16) for i in range(16)]]
    assert scores.outputs[1].tolist() == [["-16"] * 16]


def test_a_graph_of_one_row_is_freed_where_that_changes_nothing(tmp_path: Path) -> None:
    path = write_simple(tmp_path / "one.onnx", rows=1)
    bundle = export_onnx(path, name="m", version="1.0.0", output_dir=tmp_path / "models")
    assert not bundle.manifest.coding.row_by_row


def test_a_graph_of_one_row_that_cannot_be_freed_scores_rows_one_by_one(tmp_path: Path) -> None:
    path = write_mixed(tmp_path / "one.onnx", rows=1, reshaped=1)
    output = tmp_path / "models"
    scorer = exported(path, output)
    assert read_bundle(output / "m" / "1.0.0").manifest.coding.row_by_row
    scores = scorer.score(3, np.arange(21.0).reshape(3, 7) % 2, [])
    assert scores.outputs[0].tolist() == [[3, 6], [4, 8], [3, 6]]


def test_a_given_sample_is_what_the_golden_rows_come_from(tmp_path: Path) -> None:
    path = write_simple_identity(tmp_path / "echo.onnx")
    sample = {"INPUT0": np.array([["ß\0"] * 16, ["b"] * 16], dtype=object)}
    exported(path, tmp_path / "models", sample=sample)
    golden = read_bundle(tmp_path / "models" / "m" / "1.0.0").golden
    assert list(golden.expected.outputs[0].texts) == ["ß\0"] * 16 + ["b"] * 16


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_the_command_takes_an_onnx_file_and_a_sample(tmp_path: Path, suffix: str) -> None:
    path, sample = write_simple(tmp_path / "simple.onnx"), tmp_path / f"rows{suffix}"
    array = np.arange(32).reshape(2, 16)
    if suffix == ".npz":
        np.savez(sample, INPUT0=array, INPUT1=array)
    else:
        header = ",".join(f"{name}[{i}]" for name in ("INPUT0", "INPUT1") for i in range(16))
        lines = [",".join(map(str, [*row, *row])) for row in array.tolist()]
        sample.write_text("\n".join([header, *lines]))
    arguments = ["--onnx", str(path), "--name", "simple", "--version", "1.0.0", "--sample", str(sample)]
    result = CliRunner().invoke(export, [*arguments, "--output", str(tmp_path / "models")])
    assert result.exit_code == 0, result.output
    golden = read_bundle(tmp_path / "models" / "simple" / "1.0.0").golden
    assert list(golden.expected.outputs[0].numbers) == [2 * i for i in range(32)]


def test_the_command_takes_one_model(tmp_path: Path) -> None:
    result = CliRunner().invoke(export, ["--name", "m", "--version", "1.0.0"])
    assert result.exit_code == 2
    assert "--onnx" in result.output


def graph_file(path: Path, shape: list[object], *, kind: int = TensorProto.FLOAT, domain: str = "") -> Path:
    node = helper.make_node("Identity", ["x"], ["y"], domain=domain)
    tensors = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        (["rows", 5000], {}, "5000 values per row, more than 4096"),
        (["rows", "k"], {}, "no fixed shape"),
        ([], {}, "no shape of rows"),
        ([16, 2], {}, "fixed at 16 rows"),
        (["rows", 2], {"kind": TensorProto.FLOAT16}, "elements of type FLOAT16"),
        (["rows", 2], {"domain": "com.example"}, "operators of domain 'com.example'"),
    ],
)
def test_what_are_no_rows_is_refused(
    tmp_path: Path, shape: list[object], options: dict[str, object], reason: str
) -> None:
    path = graph_file(tmp_path / "g.onnx", shape, **options)  # type: ignore[arg-type]  # of several types
    assert_refused(path, reason)


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    path = write_mixed(tmp_path / "m.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert_refused(path, "another file")


def one_node(
    path: Path,
    node: onnx.NodeProto,
    *,
    kind: int = TensorProto.FLOAT,
    constants: tuple[onnx.TensorProto, ...] = (),
    training: bool = False,
) -> Path:
    """A file with a graph from `x` to `y`, two values a row, and with unneeded parts."""
    tensors = [helper.make_tensor_value_info(name, kind, ["rows", 2]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    if training:
        model.training_info.add()
    for domain in ("com.microsoft", "ai.onnx.preview.training"):
        model.opset_import.add(domain=domain, version=1)
    model.metadata_props.add(key="ort_config", value="{}")
    path.write_bytes(model.SerializeToString())
    return path


def test_what_the_server_would_refuse_and_nothing_uses_is_left_out(tmp_path: Path) -> None:
    path = one_node(tmp_path / "g.onnx", helper.make_node("Neg", ["x"], ["y"]))
    scorer = exported(path, tmp_path / "models")
    assert scorer.score(1, np.array([1.0, -2.0]), []).outputs[0].tolist() == [[-1, 2]]
    graph = onnx.ModelProto.FromString(read_bundle(tmp_path / "models" / "m" / "1.0.0").graph)
    assert [each.domain for each in graph.opset_import] == [""]
    assert not graph.metadata_props


def test_truth_values_come_in_and_go_out(tmp_path: Path) -> None:
    path = one_node(tmp_path / "g.onnx", helper.make_node("Not", ["x"], ["y"]), kind=TensorProto.BOOL)
    scorer = exported(path, tmp_path / "models")
    assert scorer.score(1, np.array([1.0, 0.0]), []).outputs[0].tolist() == [[0, 1]]


def test_branches_that_end_in_rows_are_served(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["rows", 2])
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["inner"])], "branch", [], [value])
    node = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)
    always = numpy_helper.from_array(np.array(True), "always")
    scorer = exported(one_node(tmp_path / "g.onnx", node, constants=(always,)), tmp_path / "models")
    assert scorer.score(1, np.array([1.0, -2.0]), []).outputs[0].tolist() == [[-1, 2]]


@pytest.mark.parametrize(
    ("node", "options", "reason"),
    [
        (helper.make_node("RandomNormalLike", ["x"], ["y"]), {}, "draw at random"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=0), {}, "differently when others"),
        (helper.make_node("Neg", ["x"], ["y"]), {"training": True}, "training steps"),
        (
            helper.make_node("Shape", ["x"], ["y"]),
            {"kind": TensorProto.INT64},
            "does not have one row per input row",
        ),
    ],
)
def test_a_graph_that_does_not_score_rows_is_refused(
    tmp_path: Path, node: onnx.NodeProto, options: dict[str, object], reason: str
) -> None:
    path = one_node(tmp_path / "g.onnx", node, **options)  # type: ignore[arg-type]  # of several types
    assert_refused(path, reason)


@pytest.mark.parametrize("shape", [[1, 2], [1, -1]])
@pytest.mark.parametrize("count", [1, 5])
def test_a_graph_that_runs_on_one_row_only_is_served_row_by_row(
    tmp_path: Path, shape: list[int], count: int
) -> None:
    path = write_reshaped(tmp_path / "one.onnx", shape)
    sample = {"x": np.arange(2.0 * count).reshape(count, 2)}
    scorer = exported(path, tmp_path / "models", sample=sample)
    bundle = read_bundle(tmp_path / "models" / "m" / "1.0.0")
    assert bundle.manifest.coding.row_by_row
    assert scorer.score(3, np.arange(6.0), []).outputs[0].tolist() == [[0, -1], [-2, -3], [-4, -5]]


def test_a_graph_that_takes_no_row_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_reshaped(tmp_path / "four.onnx", [4, 2])
    with pytest.raises(
        ExportError, match="(?s)does not run the graph on a row of the sample.*one row may come"
    ):
        export_onnx(path, name="m", version="1.0.0", output_dir=tmp_path / "models")


def test_a_sample_of_one_row_does_not_hide_that_rows_change_each_other(tmp_path: Path) -> None:
    path = one_node(tmp_path / "g.onnx", helper.make_node("Softmax", ["x"], ["y"], axis=0))
    with pytest.raises(
        UnsupportedModelError, match=r"differently when others are scored with it \('y', 2 rows"
    ):
        export_onnx(
            path, name="m", version="1.0.0", output_dir=tmp_path / "models", sample={"x": np.ones((1, 2))}
        )


def test_a_tolerance_for_runs_of_many_rows_is_recorded(tmp_path: Path) -> None:
    path = one_node(tmp_path / "g.onnx", helper.make_node("Neg", ["x"], ["y"]))
    exported(path, tmp_path / "models", tolerance=Tolerance(1e-4))
    bundle = read_bundle(tmp_path / "models" / "m" / "1.0.0")
    assert bundle.golden.output_tolerances["y"].relative == 1e-4
    assert bundle.manifest.parity.output_tolerances["y"].relative == 1e-4


def test_an_output_of_whole_numbers_beyond_doubles_is_refused(tmp_path: Path) -> None:
    path = write_square(tmp_path / "square.onnx")
    sample = {"a": np.array([[3], [2**27]])}
    with pytest.raises(UnsupportedModelError, match=r"output 'y' has whole numbers beyond 2\^53.*STRING"):
        export_onnx(path, name="m", version="1.0.0", output_dir=tmp_path / "models", sample=sample)


def test_ranges_are_told_of_a_sample_that_was_given_only(tmp_path: Path) -> None:
    path = one_node(tmp_path / "g.onnx", helper.make_node("Neg", ["x"], ["y"]))
    arguments = {"output_dir": tmp_path / "models", "name": "m"}
    generated = export_onnx(path, version="1.0.0", **arguments)  # type: ignore[arg-type]  # of several types
    assert "// x[0]. May be missing.\n" in (generated.path / "schema.proto").read_text()
    sample = {"x": np.array([[1.0, 2.0], [np.nan, 3.0]])}
    given = export_onnx(path, version="1.1.0", sample=sample, **arguments)  # type: ignore[arg-type]  # as above
    schema = (given.path / "schema.proto").read_text()
    assert "// x[0]. Seen: 1 to 1. Missing in 50.0% of the sample.\n" in schema
    assert "// x[1]. Seen: 2 to 3. Missing in 0.0% of the sample.\n" in schema


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_simple(tmp_path / "simple.onnx")
    good = np.zeros((2, 16))
    for sample, reason in (
        ({"INPUT0": good}, "lacks input 'INPUT1'"),
        ({"INPUT0": good, "INPUT1": good[:, :3]}, "has shape"),
        ({"INPUT0": good, "INPUT1": good + 0.5}, "are not INT32"),
        ({"INPUT0": good, "INPUT1": good[:1]}, "differ in their rows"),
        ({"INPUT0": good, "INPUT1": np.full((2, 16), 2**31)}, "are not INT32"),
    ):
        with pytest.raises(ExportError, match=reason):
            export_onnx(path, name="m", version="1.0.0", output_dir=tmp_path / "models", sample=sample)


def test_the_typed_schema_of_the_next_version_follows_the_one_before(tmp_path: Path) -> None:
    path, models = write_simple(tmp_path / "simple.onnx"), tmp_path / "models"
    first = export_onnx(path, name="m", version="1.0.0", output_dir=models)
    numbers = [each.field_number for each in first.manifest.schema.features]
    assert numbers == list(range(1, 33))
    assert "optional double INPUT0_0 = 1;" in (first.path / "schema.proto").read_text()
    second = export_onnx(write_simple_string(path), name="m", version="2.0.0", output_dir=models)
    assert second.manifest.schema.features[0].kind == schema_pb2.FEATURE_KIND_TEXT
    with pytest.raises(ExportError, match=r"changes its kind.*1\.0\.0.*new major"):
        export_onnx(path, name="m", version="1.1.0", output_dir=models)


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 7]])
def test_dictionaries_of_probabilities_become_a_table(tmp_path: Path, labels: list[Any]) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(40, 3)).astype(np.float32)
    model = LogisticRegression().fit(numbers, np.array(labels)[(numbers[:, 0] > 0).astype(int)])
    converted = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset=17)
    assert "ZipMap" in {node.op_type for node in converted.graph.node}
    (tmp_path / "m.onnx").write_bytes(converted.SerializeToString())
    scorer = exported(tmp_path / "m.onnx", tmp_path / "models", sample={"X": numbers})
    outputs = scorer.score(40, numbers.astype(np.float64).ravel(), []).outputs
    (probabilities,) = (values for values in outputs if values.shape == (40, 2))
    np.testing.assert_allclose(probabilities, model.predict_proba(numbers), atol=1e-6)
    schema = read_bundle(tmp_path / "models" / "m" / "1.0.0").manifest.schema
    (table,) = (output for output in schema.outputs if output.width == 2)
    assert table.kind == schema_pb2.OUTPUT_KIND_PROBABILITY
    assert list(table.class_labels) == [str(label) for label in labels]


def test_dictionaries_of_scores_are_no_probabilities(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(40, 3)).astype(np.float32)
    model = LinearSVC(random_state=0).fit(numbers, np.digitize(numbers[:, 0], [-0.5, 0.5]))
    converted = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset=17)
    (tmp_path / "m.onnx").write_bytes(converted.SerializeToString())
    exported(tmp_path / "m.onnx", tmp_path / "models", sample={"X": numbers})
    schema = read_bundle(tmp_path / "models" / "m" / "1.0.0").manifest.schema
    assert {output.kind for output in schema.outputs} == {schema_pb2.OUTPUT_KIND_NUMBER}
