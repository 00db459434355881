"""What the server can be told: one frozen object, from flags and SCOREWIRE_* variables.

A flag wins over its variable, and the variable over the default. Every value is
checked here, once; nothing else reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from scorewire_server.catalog.version_policy import DESCRIPTION, parse_version_policy

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_LARGEST_PORT = 65535


class SettingError(ValueError):
    """A setting has a value that it cannot have; the message names it and its range."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a setting is read from text, and how its values are described to people."""

    description: str

    def parse(self, text: str) -> Any:
        """The value.

        Raises:
            ValueError: the text is not as described.
        """
        if not text:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class _Integer(_Kind):
    low: int
    high: int

    def parse(self, text: str) -> int:
        value = int(text)
        if not self.low <= value <= self.high:
            raise ValueError
        return value


@dataclass(frozen=True, slots=True)
class _Seconds(_Kind):
    low: float
    high: float

    def parse(self, text: str) -> float:
        value = float(text)
        if not self.low <= value <= self.high:
            raise ValueError
        return value


@dataclass(frozen=True, slots=True)
class _Choice(_Kind):
    choices: tuple[str, ...]

    def parse(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class _Address(_Kind):
    def parse(self, text: str) -> str:
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match[2]) > _LARGEST_PORT:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class _Policy(_Kind):
    def parse(self, text: str) -> str:
        parse_version_policy(text)
        return text


@dataclass(frozen=True, slots=True)
class _Path(_Kind):
    def parse(self, text: str) -> Path:
        if not text:
            raise ValueError
        return Path(text)


def _integer(low: int, high: int) -> _Integer:
    return _Integer(f"a whole number from {low} to {high}", low, high)


def _seconds(high: float, low: float = 0.0) -> _Seconds:
    return _Seconds(f"a number of seconds from {low:g} to {high:g}", low, high)


def _choice(*choices: str) -> _Choice:
    return _Choice("one of " + ", ".join(choices), choices)


_PATH = _Path("a path")
_POLICY = _Policy(DESCRIPTION)
_ADDRESS_KIND = _Address("HOST:PORT or [IPv6]:PORT; port 0 takes a free one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. The annotation of each says which values it takes and what it does."""

    models: Annotated[Path, _PATH, "Folder of bundles: MODELS/<model>/<version>/."] = Path("models")
    version_policy: Annotated[
        str,
        _POLICY,
        "Versions that are loaded by themselves; pre-releases are not among the latest.",
    ] = "all"
    watch: Annotated[
        str,
        _choice("auto", "poll", "off"),
        "How new and removed bundles are noticed: by the system's events, or by a look at intervals,"
        " as network file systems need.",
    ] = "auto"
    watch_seconds: Annotated[float, _seconds(3600, low=0.1), "The interval of --watch poll."] = 5.0
    state_file: Annotated[
        Path | None,
        _PATH,
        "File in which aliases, splits, shadows and what was loaded by hand are kept;"
        " in --models unless given, named .scorewire-state.json.",
    ] = None
    control: Annotated[
        str,
        _choice("auto", "on", "off"),
        "Whether calls that change something are answered (load, unload, alias, split, shadow, rollback);"
        " auto is on where --listen is a loopback address.",
    ] = "auto"
    listen: Annotated[str, _ADDRESS_KIND, "Address of the gRPC port."] = "127.0.0.1:8500"
    port_file: Annotated[
        Path | None,
        _PATH,
        "File for the real address, written once all is loaded; its second line is that of the metrics.",
    ] = None
    tls_cert: Annotated[
        Path | None, _PATH, "PEM file of the certificate chain; turns TLS on, with --tls-key."
    ] = None
    tls_key: Annotated[Path | None, _PATH, "PEM file of the certificate's private key."] = None
    metrics_port: Annotated[
        int | None,
        _integer(0, _LARGEST_PORT),
        "Port of Prometheus' /metrics, on the host of --listen; off unless given.",
    ] = None
    engine: Annotated[
        str,
        _choice("auto", "native", "reference"),
        "What answers calls; auto is native where its extension is installed, else reference.",
    ] = "auto"
    threads: Annotated[
        int,
        _integer(0, 1024),
        "Threads of the native engine that answer calls; 0 is one for each processor.",
    ] = 0
    pin_threads: Annotated[
        str, _choice("off", "on"), "Whether each of those threads stays on a processor of its own."
    ] = "off"
    graph_threads: Annotated[int, _integer(1, 256), "Threads that onnxruntime may use for one call."] = 1
    batch_threads: Annotated[
        int, _integer(1, 256), "Threads that score large batches, beside the event loop."
    ] = 2
    trial_seconds: Annotated[
        float,
        _seconds(3600),
        "Time for the first load of a bundle, in a process of its own; 0 loads bundles without a trial.",
    ] = 60.0
    trial_memory_bytes: Annotated[
        int,
        _integer(0, 1 << 46),
        "Memory for the first load of a bundle; 0 is 4 GiB, or 40 times its graph if that is more.",
    ] = 0
    trial_processes: Annotated[
        int,
        _integer(1, 64),
        "Bundles that may have their first load at one time; the next ones wait while these take long.",
    ] = 2
    max_rows: Annotated[int, _integer(1, 10_000_000), "Rows in one call."] = 10_000
    max_message_bytes: Annotated[int, _integer(1024, 1 << 30), "Bytes of one message, either way."] = 16 << 20
    max_run_seconds: Annotated[
        float,
        _seconds(3600, low=0.001),
        "Longest run of a model's graph; one that takes longer is stopped, and its call fails.",
    ] = 60.0
    max_in_flight: Annotated[int, _integer(1, 1_000_000), "Calls being answered at one time."] = 1024
    max_streams: Annotated[int, _integer(1, 1_000_000), "Calls open at one time on one connection."] = 1024
    max_metadata_bytes: Annotated[
        int,
        _integer(4096, 1 << 17),
        "Bytes of the metadata that a call begins with, as HTTP/2 counts them: each name and value, and 32.",
    ] = 16384
    max_watches: Annotated[
        int, _integer(1, 1_000_000), "Health watches and reflection streams open at one time."
    ] = 4096
    max_connection_bytes: Annotated[
        int,
        _integer(0, 1 << 40),
        "Bytes of messages that have come and answers that have not gone, of the calls of one connection;"
        " 0 is eight times --max-message-bytes. The reference engine counts answers only.",
    ] = 0
    max_buffered_bytes: Annotated[
        int,
        _integer(0, 1 << 40),
        "The same of all connections; 0 is 64 times --max-message-bytes.",
    ] = 0
    max_connections: Annotated[
        int, _integer(0, 1_000_000), "Connections open at one time; 0 is no limit."
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        _integer(0, 1_000_000),
        "Connections open at one time from one address, which may be that of a proxy; 0 is no limit."
        " Of the native engine.",
    ] = 0
    max_connection_idle_seconds: Annotated[
        float,
        _seconds(86_400),
        "Time without a call after which a client is told to connect anew when it has one; 0 is never.",
    ] = 1800.0
    max_stall_seconds: Annotated[
        float,
        _seconds(86_400),
        "Time after which a message that has begun and does not go on, or an answer that is not taken,"
        " ends its call; 0 is never. Of the native engine.",
    ] = 60.0
    max_stream_seconds: Annotated[
        float,
        _seconds(86_400 * 7),
        "Time after which a stream of predictions is ended as if its deadline had passed; 0 is never.",
    ] = 0.0
    max_connection_age_seconds: Annotated[
        float,
        _seconds(86_400),
        "Age at which a client is told to connect anew, so that load spreads; 0 is never.",
    ] = 0.0
    drain_seconds: Annotated[
        float,
        _seconds(3600),
        "Pause between health turning NOT_SERVING and clients being told to leave, for balancers to see it.",
    ] = 2.0
    grace_seconds: Annotated[float, _seconds(3600), "After that pause, time for calls to end."] = 20.0
    log_format: Annotated[
        str, _choice("auto", "console", "json"), "Form of the log; auto is console on a terminal, else json."
    ] = "auto"
    log_level: Annotated[
        str, _choice("debug", "info", "warning", "error"), "Least important lines to log."
    ] = "info"

    @property
    def connection_bytes(self) -> int:
        """Bytes that the calls of one connection may hold."""
        return self.max_connection_bytes or 8 * self.max_message_bytes

    @property
    def buffered_bytes(self) -> int:
        """Bytes that all calls may hold."""
        return self.max_buffered_bytes or 64 * self.max_message_bytes

    @property
    def controllable(self) -> bool:
        """Whether calls that change something are answered."""
        if self.control != "auto":
            return self.control == "on"
        host = self.listen.rpartition(":")[0].strip("[]")
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


# Each setting's kind and purpose, by name.
_KINDS: dict[str, tuple[_Kind, str]] = {
    name: get_args(hint)[1:] for name, hint in get_type_hints(Settings, include_extras=True).items()
}


def flag(name: str) -> str:
    """The flag of a setting: max_rows has --max-rows."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting: max_rows has SCOREWIRE_MAX_ROWS."""
    return "SCOREWIRE_" + name.upper()


def describe() -> dict[str, str]:
    """For each setting by name: what it does, its values, its variable and its default."""
    described = {}
    for each in fields(Settings):
        default = "" if each.default is None else f"; default {each.default}"
        kind, purpose = _KINDS[each.name]
        described[each.name] = f"{purpose} ({kind.description}; {variable(each.name)}{default})"
    return described


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str] | None = None) -> Settings:
    """Put the settings together.

    Args:
        flags: the text of each flag by the setting's name; None where it was not given.
        environment: variables; the process's own unless given.

    Raises:
        SettingError: a value is out of its range, or two contradict each other.
    """
    variables = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for name, (kind, _) in _KINDS.items():
        text, source = flags.get(name), flag(name)
        if text is None:
            text, source = variables.get(variable(name)), variable(name)
        if text is None:
            continue
        try:
            values[name] = kind.parse(text.strip())
        except ValueError:
            raise SettingError(f"{source} is {text[:100]!r}; it must be {kind.description}") from None
    settings = Settings(**values)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingError("--tls-cert and --tls-key are given together or not at all")
    for name, part, least in (
        ("max_connection_bytes", settings.connection_bytes, 2 * settings.max_message_bytes),
        ("max_buffered_bytes", settings.buffered_bytes, settings.connection_bytes),
    ):
        if part < least:
            raise SettingError(f"{flag(name)} is {part}; it must be at least {least} with the other limits")
    return settings


def silence_grpc() -> None:
    """Keep the C core of gRPC from logging what callers do wrong, unless GRPC_VERBOSITY says otherwise.

    Callers must not be able to fill the log. To be called before grpc is imported.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def silence_onnxruntime() -> None:
    """Keep onnxruntime from sending what it does to its makers, unless ORT_DISABLE_TELEMETRY says otherwise.

    A server reports to nobody. To be called before onnxruntime is loaded.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
