"""Reads and writes typed messages: the protobuf types that are made from a bundle's schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from scorewire_contract.coding import RowError
from scorewire_contract.scoring import Scores
from scorewire_contract.typed import typed_schema
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import packed_pb2, schema_pb2
from scorewire_server.engine.explaining import Explained
from scorewire_server.errors import InvalidRequestError, MalformedMessageError, Violation, reason_name


class TypedCodec:
    """Reads and writes the typed messages of one version; safe to share between threads.

    Raises:
        ValueError: the schema's field numbers contradict each other.
    """

    def __init__(self, manifest: manifest_pb2.Manifest) -> None:
        self.schema = typed_schema(manifest.model, manifest.version, manifest.schema, manifest.description)
        # The schema as a file, by the service's full name. Clients may also know the former name.
        names = {each.service: each for each in (self.schema, self.schema.former)}
        self.files = {service: each.descriptor() for service, each in names.items()}
        pool = descriptor_pool.DescriptorPool()
        pool.Add(self.files[self.schema.service])

        def message(name: str) -> Any:
            found = pool.FindMessageTypeByName(f"{self.schema.package}.{self.schema.stem}{name}")
            return message_factory.GetMessageClass(found)

        self._row, self._rows, self._error = message("Row"), message("Rows"), message("Error")
        self._prediction, self._predictions = message("Prediction"), message("Predictions")
        self._version = manifest.version
        self._field_names: dict[str, str] = {}
        # By field number: whether the feature is a number, and its position among the numbers or the texts.
        self._positions: dict[int, tuple[bool, int]] = {}
        counts = [0, 0]
        for feature, field in zip(manifest.schema.features, self.schema.features, strict=True):
            is_number = feature.kind == schema_pb2.FEATURE_KIND_NUMBER
            self._positions[field.number] = (is_number, counts[is_number])
            counts[is_number] += 1
            self._field_names[feature.name] = field.name
        self._text_count, self._number_count = counts
        self._outputs = [
            (field.name, field.repeated, _labels(output))
            for output, field in zip(manifest.schema.outputs, self.schema.outputs, strict=True)
        ]

    def read_row(self, data: bytes) -> tuple[int, NDArray[np.float64], list[str]]:
        """One row: the number of rows, which is 1, its numbers and its texts.

        Raises:
            MalformedMessageError: the bytes do not parse as a row.
        """
        return self._read([_parse(self._row, data)])

    def read_rows(self, data: bytes, max_rows: int) -> tuple[int, NDArray[np.float64], list[str]]:
        """Many rows: their number, their numbers and their texts, row-major.

        Of more than `max_rows` rows only the number is returned.

        Raises:
            MalformedMessageError: the bytes do not parse as rows.
        """
        # Counted before they are parsed: an empty row has two bytes, and its parsed message far more.
        try:
            count = len(packed_pb2.PackedTypedRows.FromString(data).rows)
        except DecodeError:
            raise _malformed(self._rows) from None
        if count > max_rows:
            return count, np.empty(0), []
        return self._read(_parse(self._rows, data).rows)

    def write_prediction(
        self, scores: Scores, prediction_id: str, explained: Explained | None = None
    ) -> bytes:
        """The prediction of the only row, or its error; with the id of the record, unless that is ""."""
        prediction = self._prediction()
        error = scores.errors[0] if scores.errors else None
        self._fill(prediction, scores, 0, error, prediction_id)
        if explained is not None and error is None:
            self._explain(prediction, explained, 0)
        return bytes(prediction.SerializeToString())

    def write_predictions(
        self, row_count: int, scores: Scores, prediction_id: str, explained: Explained | None = None
    ) -> bytes:
        """The predictions of all rows, or their errors; each with the id of the record, unless that is ""."""
        predictions = self._predictions()
        errors = {error.row: error for error in scores.errors}
        for row in range(row_count):
            prediction = predictions.predictions.add()
            error = errors.get(row)
            self._fill(prediction, scores, row, error, prediction_id)
            if explained is not None and error is None:
                self._explain(prediction, explained, row)
        return bytes(predictions.SerializeToString())

    def error(self, error: RowError) -> Any:
        """A row's error as a message."""
        return self._error(reason=reason_name(error.reason), feature=error.feature, message=error.message)

    def malformed(self, *, batch: bool) -> MalformedMessageError:
        """The failure of a message that does not parse as a row or, for `batch`, as rows."""
        return _malformed(self._rows if batch else self._row)

    def refusal(self, error: RowError) -> InvalidRequestError:
        """The failure of a call whose only row has an error."""
        return InvalidRequestError(
            error.message,
            violations=[Violation(self._field_names[error.feature], error.message)],
            row_reason=reason_name(error.reason),
            feature=error.feature,
        )

    def _read(self, rows: Sequence[Any]) -> tuple[int, NDArray[np.float64], list[str]]:
        numbers = np.full((len(rows), self._number_count), np.nan)
        texts: list[str] = []
        positions = self._positions
        for index, row in enumerate(rows):
            row_numbers, row_texts = numbers[index], [""] * self._text_count
            for field, value in row.ListFields():
                is_number, position = positions[field.number]
                if is_number:
                    row_numbers[position] = value
                else:
                    row_texts[position] = value
            texts += row_texts
        return len(rows), numbers.ravel(), texts

    def _fill(
        self, prediction: Any, scores: Scores, row: int, error: RowError | None, prediction_id: str
    ) -> None:
        prediction.version = self._version
        if prediction_id:
            setattr(prediction, self.schema.prediction_id.name, prediction_id)
        if error is not None:
            prediction.error.CopyFrom(self.error(error))
            return
        for (name, repeated, labels), values in zip(self._outputs, scores.outputs, strict=True):
            row_values = values[row].tolist()
            if labels is not None:
                row_values = [labels[int(index)] for index in row_values]
            if repeated:
                getattr(prediction, name).extend(row_values)
            else:
                setattr(prediction, name, row_values[0])

    def _explain(self, prediction: Any, explained: Explained, row: int) -> None:
        message = getattr(prediction, self.schema.explanation.name)
        told = explained.explainer.told
        message.output, message.link = told.output, told.link
        count = explained.values.shape[2]
        for index, base in enumerate(explained.explainer.base):
            label = told.labels[index] if told.labels else ""
            margin = message.margins.add(label=label, base=base, margin=explained.margins[row, index])
            # An empty message is set, too.
            margin.contributions.SetInParent()
            chosen = range(count) if explained.chosen is None else explained.chosen[row, index].tolist()
            for column, value in zip(chosen, explained.values[row, index].tolist(), strict=True):
                setattr(margin.contributions, self.schema.features[column].name, value)


def _labels(output: schema_pb2.OutputSchema) -> list[str] | None:
    return list(output.class_labels) if output.kind == schema_pb2.OUTPUT_KIND_CLASS else None


def _parse(kind: Any, data: bytes) -> Any:
    try:
        message: Message = kind.FromString(data)
    except DecodeError:
        raise _malformed(kind) from None
    return message


def _malformed(kind: Any) -> MalformedMessageError:
    return MalformedMessageError(f"the message does not parse as {kind.DESCRIPTOR.full_name}")
