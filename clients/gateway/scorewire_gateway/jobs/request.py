"""What a client asks a job for: its kind, its model, the name of its table, and its settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scorewire_contract.spelling import suggestion
from scorewire_gateway.errors import invalid_field

TRAIN, FEATURES = "train", "features"
KINDS = (TRAIN, FEATURES)
REPURCHASE, GAME_REVENUE = "repurchase", "game-revenue"
MODELS = (REPURCHASE, GAME_REVENUE)

_TABLE = ("column", "delimiter", "decimal", "encoding")
_CUTOFF = ("date_format", "cut", "horizon_days")
_TRAINING = ("version", "trials", "seed")
# The settings of each kind and model: options of its command.
SETTINGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    (TRAIN, REPURCHASE): (*_TRAINING, *_CUTOFF, *_TABLE),
    (TRAIN, GAME_REVENUE): (*_TRAINING, *_TABLE),
    (FEATURES, REPURCHASE): (*_CUTOFF, *_TABLE),
    (FEATURES, GAME_REVENUE): _TABLE,
}
COLUMN = "column"
_MAX_COLUMNS = 32
_MAX_VALUE = 200
_MAX_NAME = 100
_SUFFIXES = (".csv", ".parquet")
# Letters of any script, but nothing that a shell, a header or a terminal could take for something else.
_NAME = re.compile(r"\w[\w.\- ()]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request for a job; the settings are not checked yet.

    Attributes:
        kind: "train" or "features".
        model: the use case.
        settings: the given settings by name; `column` is a list of MEANING=NAME.
    """

    kind: str
    model: str
    settings: Mapping[str, Any]

    def options(self) -> list[str]:
        """The options of the command that give these settings."""
        return [
            f"--{name.replace('_', '-')}={value}"
            for name, given in self.settings.items()
            for value in (given if isinstance(given, list) else [given])
        ]


def read_request(parameters: Iterable[tuple[str, str]]) -> JobRequest:
    """Read a request from the parameters of a URL or the fields of a form.

    Raises:
        RequestError: a parameter is unknown, is given twice, or is too long.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if len(value) > _MAX_VALUE or not value.isprintable():
            raise invalid_field(name[:_MAX_VALUE], f"has at most {_MAX_VALUE} printable characters")
        given.setdefault(name, []).append(value)
        if len(given[name]) > (_MAX_COLUMNS if name == COLUMN else 1):
            raise invalid_field(name[:_MAX_VALUE], "is given too often")
    kind, model = (given.pop(name, [default])[0] for name, default in (("kind", TRAIN), ("model", "")))
    for name, value, choices in (("kind", kind, KINDS), ("model", model, MODELS)):
        if value not in choices:
            raise invalid_field(name, f"is one of {', '.join(choices)}")
    names = SETTINGS[kind, model]
    for name in given:
        if name not in names:
            hint = suggestion(name, names) or f"; they are {', '.join(names)}"
            raise invalid_field(name[:_MAX_VALUE], f"is not a setting of {kind} {model}{hint}")
    settings = {name: values if name == COLUMN else values[0] for name, values in given.items()}
    return JobRequest(kind=kind, model=model, settings=settings)


def table_name(name: str, default: str) -> str:
    """A name for the table in its folder: that of the client's file where it is harmless.

    Raises:
        RequestError: the name is that of another kind of file than CSV and Parquet.
    """
    name = re.split(r"[/\\]", name)[-1]
    if not name:
        return default
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise invalid_field("name", "ends in .csv or .parquet: convert the table to one of them")
    if len(name) > _MAX_NAME or _NAME.fullmatch(name) is None:
        return f"data{suffix}"
    return name


def training_command(request: JobRequest, table: str, *, memory_bytes: int) -> Sequence[str]:
    """The arguments of `scorewire train` that do what is asked, in the folder of the table."""
    options = [*request.options(), f"--data={table}", "--json"]
    if request.kind == TRAIN:
        return [request.model, *options, "--output=models"]
    # Half of the memory is for pandas.
    memory_mb = max(256, min(2_048, memory_bytes >> 21))
    resources = [f"--memory-mb={memory_mb}"] if request.model == REPURCHASE else []
    return ["features", f"--model={request.model}", *options, *resources, "--output=features.parquet"]


def check_command(request: JobRequest) -> Sequence[str]:
    """The arguments of `scorewire train` that check the settings by its own code."""
    command = [request.model] if request.kind == TRAIN else ["features", f"--model={request.model}"]
    return [*command, *request.options(), "--check"]
