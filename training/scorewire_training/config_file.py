"""The settings of a training run as a TOML file, which gives the same model when it is read again.

A path in the file means the same wherever the command runs: it is relative to the
file. The file of a bundle names its table without folders, which may differ from
machine to machine and are nobody's business, but with its SHA-256. So the table may be
in any folder above the file, and no other table is taken for it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from scorewire_contract.spelling import suggestion
from scorewire_training.config import TrainingConfig
from scorewire_training.errors import TrainingError

_C = TypeVar("_C", bound=TrainingConfig)

# Where a run writes to: these do not change the model.
_PLACES = {"output_dir", "mlflow_uri"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MAX_BYTES = 1 << 20
# How error messages describe the value of a key.
_KINDS: dict[type, str] = {
    str: 'a text in quotes, like "1.0.0"',
    Path: 'a path in quotes, like "rows.csv"',
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a day, like 2011-09-10",
}


def load_config(config_class: type[_C], path: Path | None, overrides: dict[str, Any]) -> _C:
    """Read settings from a file, with overrides and defaults.

    Args:
        config_class: the settings class; its fields are the keys of the file.
        path: the TOML file; None reads no file.
        overrides: values by field, which replace those of the file.

    Raises:
        TrainingError: the file cannot be read or parsed, has an unknown key or a
            value of the wrong type, a value is out of its range, or the table of the
            file's SHA-256 is not found.
    """
    if path is None:
        return config_class(**overrides)
    values = _read(path, config_class)
    if "data" in overrides:
        values.pop("data_sha256", None)
    elif "data" in values and "data_sha256" in values:
        values["data"] = _find_table(path, values["data"], values["data_sha256"])
    try:
        # The file's values are checked alone first, so that an error in them names the file.
        config_class(**{name: value for name, value in values.items() if name not in overrides})
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from None
    for name, value in overrides.items():
        # The entries of a table are settings each.
        old = values.get(name)
        values[name] = {**old, **value} if isinstance(old, dict) else value
    return config_class(**values)


def record_table(config: _C) -> _C:
    """The settings with the SHA-256 of their table; unchanged if there is none, or it cannot be read."""
    digest = _digest(config.data) if config.data is not None else None
    return replace(config, data_sha256=digest)


def without_folders(config: _C) -> _C:
    """The settings as a bundle keeps them: the table by its name only."""
    return config if config.data is None else replace(config, data=Path(config.data.name))


def _find_table(settings: Path, data: Path, sha256: str) -> Path:
    """The table beside the settings file, or at the same place from a folder above it."""
    for folder in settings.absolute().parents:
        if _digest(folder / data) == sha256:
            return folder / data
    raise TrainingError(
        f"{settings}: the table is {str(data)!r} with the SHA-256 {sha256[:12]}..., and neither the folder "
        "of the settings nor a folder above it has that file: give the table with --data"
    )


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def render_config(config: TrainingConfig) -> bytes:
    """The settings as TOML; `load_config` of the file gives the same model.

    Settings that are None are left out, and so are the places that the run writes to.
    """
    lines = ["# The settings that made this bundle: scorewire train ... --config training.toml"]
    for setting in fields(config):
        value = getattr(config, setting.name)
        if value not in (None, {}) and setting.name not in _PLACES:
            lines.append(f"{setting.name} = {_render(value)}")
    return ("\n".join(lines) + "\n").encode("utf-8")


def _read(path: Path, config_class: type[TrainingConfig]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise TrainingError(f"{path} has more than {_MAX_BYTES:,} bytes: it is not a settings file")
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
            hint = suggestion(key, names) or f"; the keys are {', '.join(names)}"
            raise TrainingError(f"{path}: {key} is not a setting{hint}")
        values[key] = _convert(value, hints[key], f"{path}: {key}")
    for key, value in values.items():
        # The table of a bundle's settings is searched.
        if isinstance(value, Path) and not (key == "data" and "data_sha256" in values):
            values[key] = path.parent / value
    return values


def _convert(value: object, hint: Any, where: str) -> object:
    """Convert a TOML value to the type of a field: a scalar, an optional one, a tuple or a table of texts."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise TrainingError(f"{where} is {_show(value)}: write a list of values, each {_KINDS[inner]}")
        return tuple(_convert(item, inner, where) for item in value)
    if typing.get_origin(hint) is Mapping:
        if not (isinstance(value, dict) and all(isinstance(item, str) for item in value.values())):
            raise TrainingError(
                f'{where} is {_show(value)}: write a table of texts, like {{ customer = "ID" }}'
            )
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    # Compared exactly: in Python a bool is an int, and a datetime is a date.
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
    if isinstance(value, Mapping):
        items = (
            f"{key if _BARE_KEY.fullmatch(key) else _render(key)} = {_render(item)}"
            for key, item in value.items()
        )
        return f"{{ {', '.join(items)} }}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_render(item) for item in value)}]"
    # A JSON string is a TOML string, except for one character that TOML requires to be escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
