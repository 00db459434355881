"""A fake model, which scores rows with a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from scorewire_contract.schema import Version, check_model_name, fingerprint
from scorewire_proto.v1 import errors_pb2, prediction_pb2, schema_pb2

# Takes a row as values by feature name, None for a missing value. A regression
# returns its value. A classifier returns the probability of each class or, with
# two classes, only that of the last class.
Score: TypeAlias = Callable[[dict[str, Any]], "float | Sequence[float]"]
# Takes a row as above. Returns contributions by feature name, 0 for a feature that is left out; with more
# than two classes, one such mapping for each class.
ExplainRow: TypeAlias = Callable[[dict[str, Any]], "Mapping[str, float] | Sequence[Mapping[str, float]]"]


class RowRefusedError(Exception):
    """Raise this in a scoring function to give the row an error instead of a score."""

    def __init__(self, feature: str, message: str = "", *, reason: str = "MISSING_VALUE") -> None:
        super().__init__(message or f"{feature} is refused")
        self.feature = feature
        self.reason = errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """A model of a `FakeServer`.

    Attributes:
        name: the model's name.
        features: the type of each feature, float or str, by name, in schema order.
        score: the function that scores one row; see `Score`.
        class_labels: the labels of a classifier, at least two; empty for a
            regression. A classifier has the outputs `probabilities` and `label`, a
            regression the output `value`.
        version: a semantic version.
        description: for people.
        metrics: evaluation metrics by name.
        required: the features that a row must have a value for.
        explain: the function that explains one row; see `ExplainRow`. None for a model that cannot explain
            its predictions. The output `probabilities` or `value` is explained.
        base: the expected margin, to which the contributions of a row add up the row's margin.

    Raises:
        ValueError: the name, the version, a feature's type, the class labels or `required` are invalid.
    """

    name: str
    features: Mapping[str, type[float] | type[str]]
    score: Score
    class_labels: Sequence[str] = ()
    version: str = "1.0.0"
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    required: Collection[str] = ()
    explain: ExplainRow | None = None
    base: float = 0.0

    def __post_init__(self) -> None:
        check_model_name(self.name)
        Version(self.version)
        if not self.features or not set(self.features.values()) <= {float, str}:
            raise ValueError("features are float or str by name, at least one")
        if unknown := set(self.required) - set(self.features):
            raise ValueError(f"required features are features: {', '.join(sorted(unknown))} are not")
        if len(self.class_labels) == 1:
            raise ValueError("a classifier has at least two class labels")

    def schema(self) -> schema_pb2.Schema:
        """The model's schema, with its fingerprint."""
        schema = schema_pb2.Schema()
        for name, kind in self.features.items():
            is_number = kind is float
            schema.features.add(
                name=name,
                kind=schema_pb2.FEATURE_KIND_NUMBER if is_number else schema_pb2.FEATURE_KIND_TEXT,
                minimum=float("nan"),
                maximum=float("nan"),
                missing_allowed=name not in self.required,
                unknown_allowed=True,
                magnitude_limit=float("inf") if is_number else 0.0,
            )
        if self.class_labels:
            labels = list(self.class_labels)
            schema.outputs.add(
                name="probabilities",
                kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
                width=len(labels),
                class_labels=labels,
            )
            schema.outputs.add(name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, width=1, class_labels=labels)
        else:
            schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
        schema.fingerprint = fingerprint(schema)
        return schema

    def outputs(self, row: dict[str, Any]) -> list[list[float]]:
        """Score one row; returns the values of each output.

        Raises:
            RowRefusedError: the scoring function refuses the row.
        """
        for name in self.features:
            if name in self.required and row[name] is None:
                raise RowRefusedError(name, f"{name} is missing")
        result = self.score(row)
        values = [float(value) for value in ([result] if isinstance(result, int | float) else result)]
        if not self.class_labels:
            return [values]
        if len(self.class_labels) == 2 and len(values) == 1:
            values = [1 - values[0], values[0]]
        return [values, [float(values.index(max(values)))]]

    @property
    def explained_output(self) -> str:
        """The output that `explain` explains."""
        return "probabilities" if self.class_labels else "value"

    @property
    def link(self) -> str:
        """The function from margins to that output."""
        if not self.class_labels:
            return "identity"
        return "sigmoid" if len(self.class_labels) == 2 else "softmax"

    @property
    def margin_labels(self) -> list[str]:
        """The class of each margin; empty for a regression."""
        labels = list(self.class_labels)
        return labels[1:] if len(labels) == 2 else labels

    def contributions(self, row: dict[str, Any] | None) -> list[list[float]]:
        """The contributions of all features to each margin; NaN without a row.

        Raises:
            ValueError: `explain` returned another number of margins, or a name that is no feature.
        """
        margins = max(1, len(self.margin_labels))
        if row is None or self.explain is None:
            return [[float("nan")] * len(self.features)] * margins
        result = self.explain(row)
        found = [result] if isinstance(result, Mapping) else list(result)
        if len(found) != margins or any(each.keys() - self.features.keys() for each in found):
            raise ValueError(f"explain returns contributions by feature for each of {margins} margins")
        return [[float(each.get(name, 0.0)) for name in self.features] for each in found]


def read_rows(rows: prediction_pb2.Rows, schema: schema_pb2.Schema) -> list[dict[str, Any]]:
    """Decode rows to values by feature name, None for a missing value.

    Raises:
        ValueError: the rows do not fit the schema.
    """
    kinds = [feature.kind for feature in schema.features]
    number_count = kinds.count(schema_pb2.FEATURE_KIND_NUMBER)
    text_count = kinds.count(schema_pb2.FEATURE_KIND_TEXT)
    if (
        not rows.row_count
        or len(rows.numbers) != rows.row_count * number_count
        or len(rows.texts) != rows.row_count * text_count
    ):
        raise ValueError("the rows do not fit the schema")
    numbers, texts = iter(rows.numbers), iter(rows.texts)
    read = []
    for _ in range(rows.row_count):
        row: dict[str, Any] = {}
        for feature in schema.features:
            if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
                number = next(numbers)
                row[feature.name] = None if math.isnan(number) else number
            else:
                row[feature.name] = next(texts) or None
        read.append(row)
    return read
