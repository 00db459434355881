"""Makes the explanation of a lowered model: explanation.pb and explanation.onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.explanation.coded_rows import CodedRows
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.evaluating import OutputExplainer
from scorewire_training.export.explanation.graph_writing import ExplanationGraph
from scorewire_training.export.explanation.input_columns import input_features
from scorewire_training.export.explanation.plan import Plan, Planner, margin_tensors
from scorewire_training.export.explanation.sources import ColumnSources
from scorewire_training.export.explanation.subgraphs import Subgraph, observe
from scorewire_training.export.frames import WireRows
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.lowering import LoweredModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedOutput:
    """An explained output: its plan, its part of explanation.pb, and what computes its contributions."""

    plan: Plan
    message: manifest_pb2.ExplainedOutput
    explainer: OutputExplainer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedModel:
    """The explanation of a model.

    Attributes:
        message: the content of explanation.pb.
        graph: explanation.onnx; empty if no output is explained.
        outputs: the explained outputs.
    """

    message: manifest_pb2.Explanation
    graph: bytes
    outputs: Sequence[PlannedOutput]


def explain_model(
    lowered: LoweredModel, manifest: manifest_pb2.Manifest, graph: bytes, sample: WireRows
) -> ExplainedModel:
    """Find how each output of numbers or probabilities follows from the features.

    Args:
        lowered: the model.
        manifest: its schema and coding.
        graph: its graph, model.onnx.
        sample: rows of the sample; the reference of linear functions is their mean.
    """
    asked = [output for output in lowered.outputs if output.kind != schema_pb2.OUTPUT_KIND_CLASS]
    rows = CodedRows(manifest, sample)
    if not len(rows):
        return _without_explanation(asked, "the bundle refuses every row of the sample")
    subgraph = Subgraph.of(lowered.graph, margin_tensors(asked))
    try:
        tensors = observe(subgraph, rows.feeds, lowered.covers.keys())
    except ExportError:
        # Some operators run only where onnxruntime joins them with others.
        return _without_explanation(asked, "its graph does not run node by node")
    planner = Planner(
        subgraph=subgraph,
        tensors=tensors,
        sources=ColumnSources(subgraph, tensors, input_features(manifest), lowered.covers.keys()),
        covers=lowered.covers,
        features=[name for name, _ in lowered.features],
    )
    message = manifest_pb2.Explanation()
    planned: list[PlannedOutput] = []
    written = ExplanationGraph(lowered.graph, tensors)
    for output in asked:
        try:
            plan = planner.plan(output)
            means = rows.column_means(lowered.graph, [part.tensor for part in plan.linear])
            described = written.describe(plan, means)
            explainer = OutputExplainer(graph, described, len(lowered.features))
        except UnexplainedError as error:
            message.unexplained.add(output=output.name, reason=str(error))
            continue
        written.add(plan, described, means)
        message.outputs.append(described)
        planned.append(PlannedOutput(plan=plan, message=described, explainer=explainer))
    content = written.build().SerializeToString(deterministic=True) if planned else b""
    return ExplainedModel(message=message, graph=content, outputs=planned)


def _without_explanation(outputs: Sequence[ModelOutput], reason: str) -> ExplainedModel:
    """The explanation of a model none of whose outputs is explained."""
    message = manifest_pb2.Explanation()
    for output in outputs:
        message.unexplained.add(output=output.name, reason=reason)
    return ExplainedModel(message=message, graph=b"", outputs=())
