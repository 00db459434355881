"""What each of the caller's columns contributes to the margins of an output.

For each row and margin, the base and the contributions of all columns add up to the
margin, of which the output is a function, the link.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from scorewire._errors import InternalError
from scorewire._rows import SentRows
from scorewire._waterfall import Bar, as_text, draw
from scorewire_proto.v1 import packed_pb2

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_Doubles: TypeAlias = NDArray[np.float64]
_DOUBLE = np.dtype("<f8")
# How many columns the text and the picture of a row show on their own.
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contributions(Sequence["RowContributions | None"]):
    """The contributions of a batch, in the order of its rows; a sequence of `RowContributions`.

    An item is None for a row with an error.

    Attributes:
        output: the output that is explained.
        link: the function from margins to the output, such as "identity", "sigmoid", "softmax" or "exp".
        labels: for an output of classes, the class that each margin is of; else empty.
        columns: the caller's columns, which are features of the model, in schema order; with `top_k`, those
            that are among the strongest of a row.
        base: array of shape [margins]: the expected margin over the training rows.
        margins: array of shape [rows, margins]; NaN for a row with an error.
    """

    output: str
    link: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    base: _Doubles
    margins: _Doubles
    # Of shape [rows, margins, columns]; with `top_k`, [rows, margins, top_k], and the places in `columns`.
    _found: _Doubles = field(repr=False)
    _places: NDArray[np.intp] | None = field(repr=False)
    _sent: SentRows = field(repr=False)

    @property
    def values(self) -> _Doubles:
        """Array of shape [rows, margins, columns].

        NaN for a row with an error, and where `top_k` left a column out.
        """
        if self._places is None:
            return self._found
        dense = np.full((*self.margins.shape, len(self.columns)), np.nan)
        if self.columns:
            np.put_along_axis(dense, self._places, self._found, axis=2)
        return dense

    def __len__(self) -> int:
        return len(self.margins)

    @overload
    def __getitem__(self, index: int) -> RowContributions | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[RowContributions | None]: ...

    def __getitem__(self, index: int | slice) -> RowContributions | list[RowContributions | None] | None:
        """The contributions of one row, an int; or a list of them, for a slice."""
        if isinstance(index, slice):
            return [self._row(row) for row in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[RowContributions | None]:
        return map(self._row, range(len(self)))

    def _row(self, row: int) -> RowContributions | None:
        # As a list, which is faster for so few.
        margins = self.margins[row].tolist()
        if all(map(math.isnan, margins)):
            return None
        # Of classes, the predicted one has the largest margin.
        chosen = margins.index(max(margins)) if self.labels else 0
        return RowContributions(_batch=self, _row=row, _position=chosen)

    def to_pandas(self, label: str | int | None = None) -> pd.DataFrame:
        """A data frame of rows and columns, as `values`, with an index from 0.

        Args:
            label: of several margins, the class or the index of one; None for all of them, with columns
                by label and column. Without effect on an output of one margin, which has no other.

        Raises:
            ImportError: pandas is not installed.
            ValueError: there is no such margin.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - an option of the SDK
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'scorewire[pandas]'") from error
        values = self.values
        if label is not None or len(self.base) == 1:
            return pd.DataFrame(values[:, self._position(label)], columns=list(self.columns))
        names: Sequence[str | int] = self.labels or range(len(self.base))
        columns = pd.MultiIndex.from_product((names, self.columns), names=("label", "column"))
        return pd.DataFrame(values.reshape(len(values), len(columns)), columns=columns)

    def plot(self, row: int = 0, label: str | int | None = None, top: int = _SHOWN) -> Figure:
        """Draw the contributions of one row; see `RowContributions.plot`.

        Args:
            row: the row's index.
            label: of several margins, the class or the index of one; None for the predicted class.
            top: how many columns have a bar of their own.

        Raises:
            ImportError: matplotlib is not installed.
            IndexError: there is no such row.
            ValueError: the row has an error, or there is no such margin.
        """
        found = self[row]
        if found is None:
            raise ValueError(f"row {row} has an error, so it has no contributions")
        return (found if label is None else found.of(label)).plot(top)

    def _position(self, label: str | int | None) -> int:
        """The index of a margin.

        Raises:
            ValueError: there is no such margin.
        """
        if label is None:
            return 0
        if isinstance(label, str) and label in self.labels:
            return self.labels.index(label)
        is_index = isinstance(label, numbers.Integral) and not isinstance(label, bool)
        if is_index and 0 <= label < len(self.base):  # type: ignore[operator]  # an integer
            return int(label)
        known = ", ".join(map(repr, self.labels)) or f"0 to {len(self.base) - 1}"
        raise ValueError(f"{self.output!r} has no margin {label!r}: its margins are {known}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowContributions(Mapping[str, float]):
    """What each column contributes to one margin of one row: a mapping from column to contribution.

    Of several margins, it is the predicted class's, or the first one if the output has no classes; `of`
    gives the others. With `top_k`, it has the strongest columns only, the strongest first. As a text it is a
    table of the strongest columns.
    """

    _batch: Contributions
    _row: int
    _position: int
    _by_column: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        batch, at = self._batch, (self._row, self._position)
        columns = batch.columns
        if batch._places is not None:
            columns = tuple(columns[place] for place in batch._places[at].tolist()) if columns else ()
        found = dict(zip(columns, batch._found[at].tolist(), strict=False))
        object.__setattr__(self, "_by_column", found)

    @property
    def output(self) -> str:
        """The output that is explained."""
        return self._batch.output

    @property
    def link(self) -> str:
        """The function from margins to the output; see `Contributions`."""
        return self._batch.link

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes whose margins `of` gives; empty if the output has no classes."""
        return self._batch.labels

    @property
    def label(self) -> str | None:
        """The class that the margin is of; None if the output has no classes."""
        return self.labels[self._position] if self.labels else None

    @property
    def base(self) -> float:
        """The expected margin over the training rows."""
        return float(self._batch.base[self._position])

    @property
    def margin(self) -> float:
        """The row's margin: the base and the contributions of all columns."""
        return float(self._batch.margins[self._row, self._position])

    @property
    def features(self) -> Mapping[str, float | str | None]:
        """The row's values by column, as they were sent; None for a missing value."""
        return self._batch._sent.values(self._row)

    def of(self, label: str | int) -> RowContributions:
        """The contributions to another margin of the row.

        Args:
            label: the margin's class, or its index.

        Raises:
            ValueError: there is no such margin.
        """
        return replace(self, _position=self._batch._position(label))

    def of_each_margin(self) -> list[RowContributions]:
        """The contributions to each margin of the row, in the order of `labels`."""
        return [replace(self, _position=position) for position in range(len(self._batch.base))]

    def strongest(self, count: int = _SHOWN) -> list[tuple[str, float]]:
        """Columns and their contributions, those of the largest magnitude first.

        Args:
            count: the most columns.
        """
        ordered = sorted(self._by_column.items(), key=lambda item: -abs(item[1]))
        return ordered[: max(count, 0)]

    def plot(self, top: int = _SHOWN) -> Figure:
        """Draw a waterfall: from the base, by the strongest columns and the rest, to the margin.

        It needs no display: `figure.savefig("why.png")` writes it to a file. A notebook shows it after
        `%matplotlib inline`.

        Args:
            top: how many columns have a bar of their own.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: `top` is less than 1.
        """
        return draw(self._title(), self._bars(top), base=self.base, margin=self.margin)

    def __getitem__(self, column: str) -> float:
        return self._by_column[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_column)

    def __len__(self) -> int:
        return len(self._by_column)

    def __str__(self) -> str:
        return as_text(self._title(), self._bars(_SHOWN), base=self.base, margin=self.margin)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {value:.6g}" for name, value in self.strongest(3))
        more = ", ..." if len(self) > 3 else ""
        about = (
            f"output={self.output!r}, label={self.label!r}, base={self.base:.6g}, margin={self.margin:.6g}"
        )
        return f"<RowContributions {about}, {{{shown}{more}}}>"

    def _title(self) -> str:
        label = "" if self.label is None else f" of {self.label}"
        return f"{self.output}: margin{label}, link {self.link}"

    def _bars(self, top: int) -> list[Bar]:
        """The strongest columns, and the sum of all others.

        Raises:
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top is a number of columns, at least 1, not {top!r}")
        values = self.features
        bars = [
            Bar(name=name, contribution=contribution, value=values[name], is_column=True)
            for name, contribution in self.strongest(top)
        ]
        left = len(values) - len(bars)
        if left > 0:
            # The base and all columns add up to the margin, so this counts those that `top_k` left out, too.
            rest = self.margin - self.base - sum(bar.contribution for bar in bars)
            bars.append(Bar.of_others(left, rest))
        return bars


def contributions_from(message: packed_pb2.PackedContributions, sent: SentRows) -> Contributions:
    """Decode the contributions of rows that were sent.

    Raises:
        InternalError: the message does not fit the features or the rows.
    """
    columns, features, row_count = tuple(message.columns), sent.features, sent.rows.row_count
    count = len(message.base)
    margins, found = (_doubles(pieces) for pieces in (message.margins, message.values))
    places: NDArray[np.intp] | None = None
    if message.places:
        places = np.fromiter(message.places, dtype=np.intp, count=len(message.places))
    each = found.size // max(row_count * count, 1)
    fits = (
        count > 0
        and margins.size == row_count * count
        and found.size == row_count * count * each
        and len(message.labels) in {0, count}
        and _are_in_order(columns, [feature.name for feature in features])
        and (each == len(columns) if places is None else places.size == found.size)
        and (places is None or not places.size or int(places.max()) < len(columns))
    )
    if not fits:
        raise InternalError("the server's contributions do not fit the schema or the request")
    shape = (row_count, count, each)
    return Contributions(
        output=message.output,
        link=message.link,
        labels=tuple(message.labels),
        columns=columns,
        base=np.array(message.base, dtype=np.float64),
        margins=margins.reshape(row_count, count),
        _found=found.reshape(shape),
        _places=None if places is None else places.reshape(shape),
        _sent=sent,
    )


def _are_in_order(columns: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the columns are among the names, in their order and each once."""
    if len(columns) == len(names):
        return list(columns) == names
    left = iter(names)
    return all(column in left for column in columns)


def join_contributions(parts: Sequence[Contributions]) -> Contributions:
    """The contributions of several calls of one version as those of one call."""
    first = parts[0]
    columns, places = first.columns, None
    if any(part._places is not None for part in parts):
        named = {name for part in parts for name in part.columns}
        columns = tuple(feature.name for feature in first._sent.features if feature.name in named)
        order = {name: place for place, name in enumerate(columns)}
        places = np.concatenate([_renumbered(part, order) for part in parts])
    return replace(
        first,
        columns=columns,
        margins=np.concatenate([part.margins for part in parts]),
        _found=np.concatenate([part._found for part in parts]),
        _places=places,
        _sent=first._sent.joined([part._sent for part in parts[1:]]),
    )


def _renumbered(part: Contributions, order: Mapping[str, int]) -> NDArray[np.intp]:
    """The places of a part among the columns of all parts."""
    own = np.array([order[name] for name in part.columns], dtype=np.intp)
    if part._places is None:
        return np.broadcast_to(own, part._found.shape)
    return own[part._places]


def _doubles(pieces: Sequence[bytes]) -> _Doubles:
    data = b"".join(pieces)
    return np.frombuffer(data[: len(data) // _DOUBLE.itemsize * _DOUBLE.itemsize], dtype=_DOUBLE)
