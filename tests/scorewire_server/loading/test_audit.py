from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract.bundle import Bundle
from scorewire_server.loading import audit as rules
from scorewire_server.loading.audit import AuditError, audit


def _mutated(bundle: Bundle, change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_model_from_string(bundle.graph)
    change(model)
    return bytes(model.SerializeToString())


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _in_constant_node(model: onnx.ModelProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["c"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
    _external(node.attribute[0].t)


def _in_subgraph(model: onnx.ModelProto) -> None:
    inner = onnx.GraphProto()
    _external(inner.initializer.add(name="deep"))
    model.graph.node.append(
        helper.make_node("If", ["value"], ["c"], then_branch=inner, else_branch=onnx.GraphProto())
    )


def _in_sparse(model: onnx.ModelProto) -> None:
    _external(model.graph.sparse_initializer.add().values)


def _in_sparse_attribute(model: onnx.ModelProto) -> None:
    node = model.graph.node.add(op_type="Constant", output=["c"])
    attribute = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    _external(attribute.sparse_tensor.values)


def _nested(model: onnx.ModelProto) -> None:
    graph = onnx.GraphProto()
    for _ in range(rules.MAX_DEPTH + 1):
        outer = onnx.GraphProto()
        outer.node.append(
            helper.make_node("If", [""], ["c"], then_branch=graph, else_branch=onnx.GraphProto())
        )
        graph = outer
    model.graph.node.extend(graph.node)


def _many_nodes(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["features"], ["c"])
    model.graph.node.extend([node] * (rules.MAX_NODES + 1))


def _initializer(tensor: onnx.TensorProto) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.initializer.append(tensor)


def _growing(op_type: str, sizes: list[int], position: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, dtype=np.int64), "sizes"))
        inputs = ["features"] * position + ["sizes"]
        model.graph.node.append(helper.make_node(op_type, inputs, ["c"]))

    return change


def _growing_by_node(model: onnx.ModelProto) -> None:
    sizes = numpy_helper.from_array(np.array([1 << 40], dtype=np.int64), "sizes")
    model.graph.node.append(helper.make_node("Constant", [], ["sizes"], value=sizes))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sizes"], ["c"]))


def _sizes_of_text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(["9"], dtype=object), "sizes"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sizes"], ["c"]))


def _node(op_type: str, *inputs: str, **attributes: Any) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node.append(helper.make_node(op_type, inputs, ["c"], **attributes))


def _random_in_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("RandomNormal", [], ["d"], shape=[1])], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["value"], ["c"], then_branch=inner, else_branch=inner))


def _dropout(*, training: bool) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(training), "mode"))
        _node("Dropout", "features", "", "mode")(model)

    return change


def _short_raw_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\x00" * 4


def _rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "other"


def _another_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


REFUSED: list[tuple[Callable[[onnx.ModelProto], object], str]] = [
    (lambda model: _external(model.graph.initializer[0]), "another file"),
    (_in_constant_node, "another file"),
    (_in_subgraph, "another file"),
    (_in_sparse, "another file"),
    (_in_sparse_attribute, "another file"),
    (lambda model: model.functions.add(name="f", domain="mine"), "functions"),
    (lambda model: model.training_info.add(), "training"),
    (lambda model: model.opset_import.add(domain="com.microsoft", version=1), "com.microsoft"),
    (lambda model: model.graph.node.add(op_type="Run", domain="mine"), "'mine'"),
    (lambda model: model.metadata_props.add(key="ort_config", value="{}"), "ort_config"),
    (_many_nodes, "nodes"),
    (_nested, "nests"),
    (_initializer(TensorProto(name="w", dims=[1 << 40], data_type=1)), "elements, more than"),
    (_initializer(TensorProto(name="w", dims=[-1], data_type=1)), "negative"),
    (_initializer(TensorProto(name="w", dims=[1 << 20], data_type=1)), "has fewer"),
    (_initializer(TensorProto(name="w", dims=[2], data_type=1, segment={"begin": 0})), "segments"),
    (_short_raw_data, "its shape needs 8"),
    (
        lambda model: model.graph.sparse_initializer.add(dims=[1 << 40]),
        "more than [0-9]+ elements, or a negative size",
    ),
    (_growing("ConstantOfShape", [1 << 20, 1 << 20], 0), "ConstantOfShape makes more"),
    (_growing("Expand", [1 << 30], 1), "Expand makes more"),
    (_growing("Tile", [1, 1 << 40], 1), "Tile makes more"),
    (_growing_by_node, "ConstantOfShape makes more"),
    (_sizes_of_text, "not numeric"),
    (_node("RandomNormal", shape=[1]), "RandomNormal is random"),
    (_node("RandomUniformLike", "features"), "RandomUniformLike is random"),
    (_node("Multinomial", "features"), "Multinomial is random"),
    (_node("Bernoulli", "features"), "Bernoulli is random"),
    (_random_in_subgraph, "RandomNormal is random"),
    (_dropout(training=True), "Dropout is in training mode"),
    (_node("Dropout", "features", "", "value"), "Dropout is in training mode"),
    (_node("Dropout", "features", is_test=0), "Dropout is in training mode"),
    (_node("BatchNormalization", "features", training_mode=1), "BatchNormalization is in training mode"),
    (_rename_output, "'value'"),
    (_another_type, "the graph takes features"),
    (lambda model: model.graph.ClearField("input"), "the manifest feeds features"),
]


def test_the_graph_of_a_bundle_passes(sum_bundle: Bundle) -> None:
    audit(sum_bundle.graph, sum_bundle.manifest)


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_a_graph_that_breaks_a_rule_is_refused(
    sum_bundle: Bundle, change: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    with pytest.raises(AuditError, match=reason):
        audit(_mutated(sum_bundle, change), sum_bundle.manifest)


def test_small_growth_and_subgraphs_pass(sum_bundle: Bundle) -> None:
    def change(model: onnx.ModelProto) -> None:
        _growing("ConstantOfShape", [3, 4], 0)(model)
        inner = helper.make_graph([helper.make_node("Identity", ["features"], ["d"])], "inner", [], [])
        model.graph.node.append(
            helper.make_node("If", ["value"], ["e"], then_branch=inner, else_branch=inner)
        )

    audit(_mutated(sum_bundle, change), sum_bundle.manifest)


@pytest.mark.parametrize(
    "change",
    [
        _dropout(training=False),
        _node("Dropout", "features"),
        _node("Dropout", "features", is_test=1),
        _node("BatchNormalization", "features", training_mode=0),
    ],
)
def test_what_only_training_makes_random_passes(
    sum_bundle: Bundle, change: Callable[[onnx.ModelProto], None]
) -> None:
    audit(_mutated(sum_bundle, change), sum_bundle.manifest)


@pytest.mark.parametrize("graph", [b"", b"\xff\xff", b"not a graph"])
def test_bytes_that_are_no_graph_are_refused(sum_bundle: Bundle, graph: bytes) -> None:
    with pytest.raises(AuditError):
        audit(graph, sum_bundle.manifest)


def test_an_oversize_graph_is_refused_unread(sum_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_GRAPH_BYTES", 10)
    with pytest.raises(AuditError, match="bytes, more than 10"):
        audit(sum_bundle.graph, sum_bundle.manifest)
