"""What export tells people of an explanation."""

from __future__ import annotations

from scorewire_proto.bundle.v1 import manifest_pb2


def describe_explanation(explanation: manifest_pb2.Explanation, feature_count: int) -> list[str]:
    """A line for each output that has numbers: how it is explained, or why it is not.

    Args:
        explanation: the explanation.
        feature_count: the number of features of the schema.
    """
    lines = []
    for output in explanation.outputs:
        features = {each for tree in output.trees for each in tree.features}
        features.update(each for linear in output.linear for each in linear.features)
        # The number of all features stands for a column that is not read.
        count = len(features - {feature_count})
        columns = "1 column" if count == 1 else f"{count:,} columns"
        lines.append(f"explains {output.output} ({output.link}) in {columns}")
    lines += [f"does not explain {each.output}: {each.reason}" for each in explanation.unexplained]
    return lines or ["explains nothing: no output is a number or a probability"]
