"""A training run's settings as a TOML file: read with every check, written so that it gives the same run."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
import typing
from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from scorewire_training.config import TrainingConfig
from scorewire_training.errors import TrainingError

_C = TypeVar("_C", bound=TrainingConfig)

# Where a run puts things, which is no part of what it is.
_PLACES = {"output_dir", "mlflow_uri"}
_MAX_BYTES = 1 << 20
# For people: what a key takes.
_KINDS: dict[type, str] = {
    str: 'a text in quotes, like "1.0.0"',
    Path: 'a path in quotes, like "rows.csv"',
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a day, like 2011-09-10",
}


def load_config(config_class: type[_C], path: Path | None, overrides: dict[str, Any]) -> _C:
    """The settings of a file, those of `overrides` before them; the defaults for the rest.

    Args:
        config_class: whose fields are the keys.
        path: of the file; None for none.
        overrides: by field.

    Raises:
        TrainingError: the file cannot be read, has a key that is none or a value
            of another type; or a value is out of its range.
    """
    if path is None:
        return config_class(**overrides)
    values = _read(path, config_class)
    try:
        # Alone first, so that the file is named where the fault is its own.
        config_class(**{name: value for name, value in values.items() if name not in overrides})
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
    return config_class(**{**values, **overrides})


def render_config(config: TrainingConfig) -> bytes:
    """The settings that are in force, as TOML; `load_config` of it gives the same model.

    What is None is left out, and so is where the bundle and the run are put.
    """
    lines = ["# The settings that made this bundle: scorewire train ... --config training.toml"]
    for setting in fields(config):
        value = getattr(config, setting.name)
        if value is not None and setting.name not in _PLACES:
            lines.append(f"{setting.name} = {_render(value)}")
    return ("\n".join(lines) + "\n").encode("utf-8")


def _read(path: Path, config_class: type[TrainingConfig]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise TrainingError(f"{path} has more than {_MAX_BYTES:,} bytes: it is no file of settings")
        table = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrainingError(f"{path} is not TOML: {error}") from None
    hints = typing.get_type_hints(config_class)
    names = [setting.name for setting in fields(config_class)]
    values = {}
    for key, value in table.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(names)}"
            raise TrainingError(f"{path}: {key} is no setting; {hint}")
        values[key] = _convert(value, hints[key], f"{path}: {key}")
    return values


def _convert(value: object, hint: Any, where: str) -> object:
    """A TOML value as the type of a field: a scalar, an optional one, or a tuple of some."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise TrainingError(f"{where} is {_show(value)}: write a list of values, each {_KINDS[inner]}")
        return tuple(_convert(item, inner, where) for item in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    # A bool is an int and a datetime a date, to Python and not to people.
    if type(value) is hint:
        return value
    raise TrainingError(f"{where} is {_show(value)}: write {_KINDS[hint]}")


def _show(value: object) -> str:
    if isinstance(value, (bool, int, float, str, date, list)):
        return _render(value)
    return "a table" if isinstance(value, dict) else str(value)


def _render(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_render(item) for item in value)}]"
    # JSON's strings are TOML's, but for one character that TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
