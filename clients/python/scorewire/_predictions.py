"""Predictions, by row and by column."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from scorewire._contributions import (
    Contributions,
    RowContributions,
    contributions_from,
    join_contributions,
)
from scorewire._errors import InternalError, UnimplementedError, reason_name
from scorewire._models import Output, OutputKind, Schema
from scorewire._rows import EncodedRows, SentRows
from scorewire_proto.v1 import packed_pb2, prediction_pb2

if TYPE_CHECKING:
    import pandas as pd

Doubles: TypeAlias = NDArray[np.float64]
_DOUBLE = np.dtype("<f8")
# The column of the rows' ids in a table of predictions.
RECORD_ID = "record_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """Why one row has no score.

    Attributes:
        row: the row's index in the rows given to `predict`, from 0.
        reason: such as "MISSING_VALUE", "NUMBER_OUT_OF_RANGE" or "UNKNOWN_TEXT".
        feature: the first invalid feature, in schema order.
        message: for people.
    """

    row: int
    reason: str
    feature: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """The prediction for one row.

    Attributes:
        score: with two classes, the probability of the last one; with more, the
            probability of the predicted class. Without probabilities, the first
            value of the first output that is not a text output: for a classifier,
            the index of the predicted class. NaN if there is no such value or
            the row has an error.
        label: the predicted class; None if the model has no classes or the row
            has an error.
        outputs: values by output name. An output with one value per row is a
            float, or a str for a text output; any other is an array of shape [width].
        error: why the row has no score; else None.
        model: the model that answered.
        version: the version that answered.
        id: by which the record of this row is found: `<prediction_id>/<row>`. Empty if the
            server does not record the prediction.
        contributions: what each column contributes to the prediction; None if that was not asked for, or
            the row has an error.
    """

    score: float
    label: str | None
    outputs: dict[str, float | str | NDArray[Any]]
    error: RowError | None
    model: str
    version: str
    id: str = ""
    contributions: RowContributions | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions(Sequence[Prediction]):
    """The predictions for a batch, in the order of its rows; a sequence of `Prediction`.

    Attributes:
        scores: array of shape [rows]; see `Prediction.score`.
        labels: one label per row; None for a row without a label.
        outputs: arrays of shape [rows, width] by output name, with dtype float64, or
            with dtype object and str values for a text output.
        errors: the errors of rows, in ascending order of rows.
        model: the model that answered.
        version: the version that answered.
        server_time: time in the server, from the decoded request to the encoded response.
        model_time: the part of `server_time` that the run of the model took. The run
            may have included rows of other calls.
        output_schemas: the model's outputs.
        contributions: what each column contributes to the predictions; None if that was not asked for.
    """

    scores: Doubles
    labels: tuple[str | None, ...]
    outputs: dict[str, NDArray[Any]]
    errors: tuple[RowError, ...]
    model: str
    version: str
    server_time: timedelta
    model_time: timedelta
    output_schemas: tuple[Output, ...]
    contributions: Contributions | None = None
    # The prediction_id and the rows of each call that the batch took.
    _calls: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    _errors_by_row: dict[int, RowError] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_errors_by_row", {error.row: error for error in self.errors})

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of each row; see `Prediction.id`."""
        found = tuple(_row_id(call, row) for call, rows in self._calls for row in range(rows))
        return found or ("",) * len(self)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...

    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        if isinstance(index, slice):
            return [self._row(row) for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self._row(row)

    def __iter__(self) -> Iterator[Prediction]:
        return map(self._row, range(len(self)))

    def _row(self, row: int) -> Prediction:
        return Prediction(
            score=float(self.scores[row]),
            label=self.labels[row],
            outputs={
                name: values[row, :1].tolist()[0] if values.shape[1] == 1 else values[row]
                for name, values in self.outputs.items()
            },
            error=self._errors_by_row.get(row),
            model=self.model,
            version=self.version,
            id=self._id(row),
            contributions=None if self.contributions is None else self.contributions[row],
        )

    def _id(self, row: int) -> str:
        for call, rows in self._calls:
            if row < rows:
                return _row_id(call, row)
            row -= rows
        return ""

    def columns(self, *, ids: bool = False) -> dict[str, Doubles | list[str | None]]:
        """The batch as columns by name, as `to_pandas` and `scorewire predict` write it.

        The columns are, in this order:

        - `score`;
        - `label`, if the model has classes;
        - the values of each output: under the output's name if it has one value per
          row, else under `<output>_<class label or index>`. A name that is taken
          gets the prefix `output_`. The class output that `label` comes from is
          left out; any other class output gives the names of classes;
        - `error`, the message of a row's error or None;
        - `record_id`, the row's id or None, if it is asked for.

        Args:
            ids: whether to add the rows' ids; see `Prediction.id`.
        """
        columns: dict[str, Doubles | list[str | None]] = {"score": self.scores}
        if has_labels(self.output_schemas):
            columns["label"] = list(self.labels)
        for name, output, position in output_columns(self.output_schemas, ids=ids):
            values = self.outputs[output.name][:, position]
            if is_named(output):
                columns[name] = list(_names(values, output.class_labels))
            else:
                columns[name] = values.tolist() if values.dtype == object else values
        messages = {row: error.message for row, error in self._errors_by_row.items()}
        columns["error"] = [messages.get(row) for row in range(len(self))]
        if ids:
            columns[RECORD_ID] = [each or None for each in self.ids]
        return columns

    def to_pandas(self, *, ids: bool = False) -> pd.DataFrame:
        """The batch as a data frame with the columns of `columns()` and an index from 0.

        Args:
            ids: whether to add the rows' ids, as in `columns()`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - an option of the SDK
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'scorewire[pandas]'") from error
        return pd.DataFrame(self.columns(ids=ids))


def join(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several calls of one version as those of one call."""
    first = parts[0]
    if len(parts) == 1:
        return first
    starts = [0, *itertools.accumulate(map(len, parts[:-1]))]
    return Predictions(
        scores=np.concatenate([part.scores for part in parts]),
        labels=tuple(itertools.chain.from_iterable(part.labels for part in parts)),
        outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs},
        errors=tuple(
            replace(error, row=start + error.row)
            for start, part in zip(starts, parts, strict=True)
            for error in part.errors
        ),
        model=first.model,
        version=first.version,
        server_time=sum((part.server_time for part in parts), timedelta()),
        model_time=sum((part.model_time for part in parts), timedelta()),
        output_schemas=first.output_schemas,
        contributions=join_contributions([part.contributions for part in parts if part.contributions])
        if first.contributions is not None
        else None,
        _calls=tuple(itertools.chain.from_iterable(part._calls for part in parts)),
    )


class ResponseDecoder:
    """Decodes responses for one schema; safe to share between threads."""

    def __init__(self, schema: Schema) -> None:
        self._outputs, self._features = schema.outputs, schema.features
        # The name and the width of each output, and the layout of its numbers in a row; None for texts.
        self._layouts = [
            (
                output.name,
                output.width,
                None if output.kind is OutputKind.TEXT else struct.Struct(f"<{output.width}d"),
            )
            for output in schema.outputs
        ]
        numeric = (each for each in schema.outputs if each.width and each.kind is not OutputKind.TEXT)
        self._numeric = next(numeric, None)
        self._probability = _first(schema.outputs, OutputKind.PROBABILITY)
        self._class = _first(schema.outputs, OutputKind.CLASS)

    def decode(
        self, response: packed_pb2.PackedPredictResponse, row_count: int, explained: EncodedRows | None = None
    ) -> Predictions:
        """Decode the response to a request of `row_count` rows.

        Args:
            response: the response.
            row_count: how many rows the request had.
            explained: the rows of the request if it asked for contributions, else None.

        Raises:
            InternalError: the response does not fit the schema or the request.
            UnimplementedError: the server is older than contributions.
        """
        if response.row_count != row_count or len(response.outputs) != len(self._outputs):
            raise InternalError("the server's response does not fit the request")
        outputs = {}
        for output, packed in zip(self._outputs, response.outputs, strict=True):
            values: NDArray[Any]
            if output.kind is OutputKind.TEXT:
                values = np.array(list(packed.texts), dtype=object)
            else:
                numbers = b"".join(packed.numbers)
                values = np.frombuffer(numbers[: len(numbers) // 8 * 8], dtype=_DOUBLE)
            if packed.name != output.name or values.size != row_count * output.width:
                raise InternalError(
                    f"the server's response for output {output.name!r} does not fit the schema"
                )
            outputs[output.name] = values.reshape(row_count, output.width)
        scores, labels = self._summarise(outputs, row_count)
        return Predictions(
            scores=scores,
            labels=labels,
            outputs=outputs,
            errors=tuple(map(_row_error, response.errors)),
            model=response.model,
            version=response.version,
            server_time=timedelta(microseconds=response.server_time_us),
            model_time=timedelta(microseconds=response.model_time_us),
            output_schemas=self._outputs,
            contributions=None if explained is None else self._contributions(response, explained),
            _calls=((response.prediction_id, row_count),),
        )

    def decode_row(
        self, response: packed_pb2.PackedPredictResponse, explained: EncodedRows | None = None
    ) -> Prediction:
        """Decode the response to a request of one row, as `decode` does, but without numpy's cost.

        Raises:
            InternalError: the response does not fit the schema or the request.
            UnimplementedError: the server is older than contributions.
        """
        if response.row_count != 1 or len(response.outputs) != len(self._outputs):
            raise InternalError("the server's response does not fit the request")
        values: dict[str, Sequence[Any]] = {}
        outputs: dict[str, float | str | NDArray[Any]] = {}
        for (name, width, row), packed in zip(self._layouts, response.outputs, strict=True):
            found: Sequence[Any]
            if row is None:
                found = packed.texts
            else:
                pieces = packed.numbers
                data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                found = row.unpack(data) if len(data) == row.size else ()
            if len(found) != width or packed.name != name:
                raise InternalError(f"the server's response for output {name!r} does not fit the schema")
            values[name] = found
            if width == 1:
                outputs[name] = found[0]
            elif row is None:
                outputs[name] = np.array(found, dtype=object)
            else:
                outputs[name] = np.frombuffer(data, _DOUBLE)
        score, label = self._summarise_row(values)
        return Prediction(
            score=score,
            label=label,
            outputs=outputs,
            error=_row_error(response.errors[0]) if response.errors else None,
            model=response.model,
            version=response.version,
            id=_row_id(response.prediction_id, 0),
            contributions=None if explained is None else self._contributions(response, explained)[0],
        )

    def _contributions(self, response: packed_pb2.PackedPredictResponse, rows: EncodedRows) -> Contributions:
        if not response.HasField("contributions"):
            raise UnimplementedError("the server explains no predictions: it is of an older release")
        sent = SentRows(self._features, rows)
        return contributions_from(response.contributions, sent)

    def _summarise_row(self, values: dict[str, Sequence[Any]]) -> tuple[float, str | None]:
        """What `_summarise` gives, of one row."""
        score: float = values[self._numeric.name][0] if self._numeric else math.nan
        chosen: float | None = values[self._class.name][0] if self._class else None
        if self._probability:
            probabilities = values[self._probability.name]
            if chosen is None:
                is_known = not any(map(math.isnan, probabilities))
                chosen = float(probabilities.index(max(probabilities))) if is_known else math.nan
            last = self._probability.width - 1
            score = probabilities[last if last < 2 else _position(chosen, last)]
        named = self._class or self._probability
        if named is None or chosen is None:
            return score, None
        return score, _name(chosen, named.class_labels)

    def _summarise(
        self, outputs: dict[str, NDArray[Any]], row_count: int
    ) -> tuple[Doubles, tuple[str | None, ...]]:
        """The scores and labels of all rows, as `Prediction` defines them."""
        first = outputs[self._numeric.name][:, 0] if self._numeric else np.full(row_count, np.nan)
        chosen = outputs[self._class.name][:, 0] if self._class else None
        if self._probability:
            probabilities = outputs[self._probability.name]
            if chosen is None:
                chosen = np.where(np.isnan(probabilities).any(axis=1), np.nan, _argmax(probabilities))
            if self._probability.width <= 2:
                first = probabilities[:, -1]
            else:
                columns = np.nan_to_num(chosen, nan=0.0).astype(np.intp).clip(0, self._probability.width - 1)
                first = probabilities[np.arange(row_count), columns]
        named = self._class or self._probability
        if named is None or chosen is None:
            return first, (None,) * row_count
        return first, _names(chosen, named.class_labels)


def has_labels(outputs: Sequence[Output]) -> bool:
    """Whether predictions with these outputs have labels."""
    return any(output.class_labels for output in outputs)


def is_named(output: Output) -> bool:
    """Whether an output is a predicted class with a name, so that a table shows the name."""
    return output.kind is OutputKind.CLASS and output.width == 1 and bool(output.class_labels)


def output_columns(outputs: Sequence[Output], *, ids: bool = False) -> list[tuple[str, Output, int]]:
    """The columns of the outputs in a table of predictions: column name, output, position in the output.

    Args:
        outputs: the model's outputs.
        ids: whether the table has the rows' ids, too.
    """
    taken = {"score", "label", "error"}
    if ids:
        taken.add(RECORD_ID)
    columns = []
    classes = _first(outputs, OutputKind.CLASS)
    for output in outputs:
        if output is classes and output.width == 1:
            continue
        labelled = len(output.class_labels) == output.width
        suffixes = output.class_labels if labelled else tuple(map(str, range(output.width)))
        for position, suffix in enumerate(suffixes):
            name = output.name if output.width == 1 else f"{output.name}_{suffix}"
            while name in taken:
                name = f"output_{name}"
            taken.add(name)
            columns.append((name, output, position))
    return columns


def _row_id(prediction_id: str, row: int) -> str:
    return f"{prediction_id}/{row}" if prediction_id else ""


def _names(indices: NDArray[Any], labels: Sequence[str]) -> tuple[str | None, ...]:
    """The names of classes by index; None for an index without a class."""
    return tuple(_name(index, labels) for index in indices.tolist())


def _name(index: float, labels: Sequence[str]) -> str | None:
    return labels[int(index)] if 0 <= index < len(labels) else None


def _position(index: float, last: int) -> int:
    """An index between 0 and `last`; 0 for NaN."""
    return 0 if math.isnan(index) else int(min(max(index, 0), last))


def _row_error(error: prediction_pb2.RowError) -> RowError:
    return RowError(
        row=error.row, reason=reason_name(error.reason), feature=error.feature, message=error.message
    )


def _argmax(probabilities: Doubles) -> Doubles:
    return np.asarray(np.argmax(np.nan_to_num(probabilities, nan=-1.0), axis=1), dtype=np.float64)


def _first(outputs: Sequence[Output], kind: OutputKind) -> Output | None:
    return next((output for output in outputs if output.kind is kind and output.width), None)
