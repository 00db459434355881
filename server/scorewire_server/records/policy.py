"""The policy of records: what is recorded of which model, from a TOML file.

The file is read strictly, since a misspelt feature would be recorded against its
owner's will: unknown keys and features are errors. Unknown models are not, since a
policy may be there before its models.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_contract.spelling import suggestion
from scorewire_server.engine.recording import Treatment

_MAX_BYTES = 1 << 20
_LEAST_KEY_BYTES = 32
_MOST_KEY_BYTES = 64
_MOST_DAYS = 36_500
_TREATMENTS: tuple[str, ...] = get_args(Treatment)
_WAYS_TO_SAMPLE = ("random", "routing_key")
_HOW_TO_MAKE_A_KEY = "make one with: head -c 32 /dev/urandom > FILE"


class PolicyError(ValueError):
    """The policy cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy:
    """What is recorded of a model; the fields are the keys of a table of the file.

    Attributes:
        share: the share of predictions that is recorded, from 0 to 1.
        sample_by: routing_key if the routing key decides which; else random.
        keep_errors: whether predictions with a row error are recorded in any case.
        keep_shadowed: whether predictions that are copied to a shadow are recorded in any case.
        retention_days: how long records are kept; None for good.
        caller: what becomes of the caller's address.
        principal: what becomes of the principal's name.
        routing_key: what becomes of the routing key.
        features: what becomes of features, by name; all others are kept.
    """

    share: float = 1.0
    sample_by: str = "random"
    keep_errors: bool = False
    keep_shadowed: bool = False
    retention_days: int | None = None
    caller: Treatment = "keep"
    principal: Treatment = "keep"
    routing_key: Treatment = "keep"
    features: Mapping[str, Treatment] = field(default_factory=dict)

    @property
    def hashes(self) -> bool:
        """Whether anything is hashed."""
        return "hash" in {self.caller, self.principal, self.routing_key, *self.features.values()}

    def misfit(self, versions: Iterable[Iterable[str]]) -> str:
        """What is wrong with the policy for a model, "" if nothing is.

        Args:
            versions: the names of the features of each version of the model.
        """
        names = {name for features in versions for name in features}
        for name in self.features:
            if names and name not in names:
                return f"no version has a feature {name!r}{suggestion(name, sorted(names))}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy of all models.

    Attributes:
        default: the policy of models that have none of their own.
        models: the policy of a model, by its name.
        hash_key: the key of all hashes, of at most 64 bytes; empty if nothing is hashed.
        exposed_key: the file of the key, if everyone may read it.
        files: the files that the policy was read from, with their contents.
    """

    default: ModelPolicy = field(default_factory=ModelPolicy)
    models: Mapping[str, ModelPolicy] = field(default_factory=lambda: MappingProxyType({}))
    hash_key: bytes = field(default=b"", repr=False)
    exposed_key: Path | None = None
    files: tuple[tuple[Path, bytes], ...] = field(default=(), repr=False, compare=False)

    @property
    def is_current(self) -> bool:
        """Whether the files still have these contents.

        Raises:
            PolicyError: a file cannot be read.
        """
        return all(_read(path)[0] == content for path, content in self.files)

    def of(self, model: str) -> ModelPolicy:
        """The policy of a model."""
        return self.models.get(model, self.default)


def read_policy(path: Path) -> Policy:
    """Read a policy and its key.

    Raises:
        PolicyError: a file cannot be read, is no policy, or needs a key that it does not name.
    """
    content, _ = _read(path)
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(f"{path} is no valid TOML: {error}") from None
    try:
        policy = _policy(table, path.parent)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None
    return replace(policy, files=((path, content), *policy.files))


def _policy(table: Mapping[str, Any], folder: Path) -> Policy:
    _check_keys("the file", table, ("default", "models", "hash_key_file"))
    defaults = _table("default", table.get("default", {}))
    if "features" in defaults:
        raise PolicyError(
            "[default] cannot have features, which belong to one model: write [models.NAME.features]"
        )
    default = _model_policy("default", defaults, ModelPolicy())
    models = {}
    for name, values in _table("models", table.get("models", {})).items():
        try:
            check_model_name(name)
        except InvalidNameError as error:
            raise PolicyError(f"[models]: {error}") from None
        where = f"models.{name}"
        models[name] = _model_policy(where, _table(where, values), default)
    if "hash_key_file" in table:
        path, content, exposed = _read_key(folder, table["hash_key_file"])
        # BLAKE2b takes no longer key.
        key = content if len(content) <= _MOST_KEY_BYTES else blake2b(content).digest()
        files = ((path, content),)
        return Policy(
            default=default,
            models=models,
            hash_key=key,
            exposed_key=path if exposed else None,
            files=files,
        )
    if any(each.hashes for each in (default, *models.values())):
        raise PolicyError(
            f'"hash" needs a key: write hash_key_file = "FILE" above all tables; {_HOW_TO_MAKE_A_KEY}'
        )
    return Policy(default=default, models=models)


def _model_policy(where: str, table: Mapping[str, Any], default: ModelPolicy) -> ModelPolicy:
    """A table as a policy; keys that it does not have are as in `default`."""
    _check_keys(f"[{where}]", table, [each.name for each in fields(ModelPolicy)])
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name == "features":
            features = _table(f"{where}.features", value)
            values[name] = {
                feature: _one_of(f"[{where}.features] {feature}", treatment, _TREATMENTS)
                for feature, treatment in features.items()
            }
        else:
            values[name] = _value(f"[{where}] {name}", name, value)
    return replace(default, **values)


def _value(where: str, name: str, value: Any) -> Any:
    match name:
        case "share":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise PolicyError(f"{where} is {value!r}; it must be a number from 0 to 1")
            return float(value)
        case "retention_days":
            if type(value) is not int or not 1 <= value <= _MOST_DAYS:
                raise PolicyError(
                    f"{where} is {value!r}; it must be a whole number from 1 to {_MOST_DAYS}, or left out to"
                    " keep records for good"
                )
            return value
        case "keep_errors" | "keep_shadowed":
            if not isinstance(value, bool):
                raise PolicyError(f"{where} is {value!r}; it must be true or false")
            return value
        case "sample_by":
            return _one_of(where, value, _WAYS_TO_SAMPLE)
        case _:
            return _one_of(where, value, _TREATMENTS)


def _one_of(where: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        near = suggestion(value, choices) if isinstance(value, str) else ""
        raise PolicyError(f"{where} is {value!r}; it must be one of {', '.join(choices)}{near}")
    return value


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{name} must be a table: write [{name}]")
    return value


def _check_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = list(known)
    for name in table:
        if name not in known:
            near = suggestion(name, known) or f"; its keys are {', '.join(known)}"
            if name == "hash_key_file":
                near = "; write it above all tables"
            raise PolicyError(f"{where} has an unknown key {name!r}{near}")


def _read_key(folder: Path, name: Any) -> tuple[Path, bytes, bool]:
    """The key's file, relative to the policy's folder; its content; and whether everyone may read it."""
    if not isinstance(name, str) or not name:
        raise PolicyError(f'hash_key_file must be a path in quotes, like "hash.key"; {_HOW_TO_MAKE_A_KEY}')
    path = folder / name
    content, mode = _read(path)
    if len(content) < _LEAST_KEY_BYTES:
        raise PolicyError(
            f"hash_key_file {path} has {len(content)} bytes, and a key needs {_LEAST_KEY_BYTES} or more;"
            f" {_HOW_TO_MAKE_A_KEY}"
        )
    return path, content, bool(mode & stat.S_IROTH)


def _read(path: Path) -> tuple[bytes, int]:
    """The content and the mode of a small file; never waits for a pipe.

    Raises:
        PolicyError: the file cannot be read, is no file, or is too large.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise PolicyError(f"{path} is no file")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise PolicyError(f"{path} has more than {_MAX_BYTES} bytes")
    return content, mode
