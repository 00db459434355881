"""The server's settings: one frozen object, from flags and SCOREWIRE_* variables.

A flag wins over its variable, and the variable over the default. Every value is
checked here, once. No other module reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from scorewire_contract.service import settings
from scorewire_contract.service.settings import (
    ADDRESS,
    COLLECTOR_URL,
    LARGEST_PORT,
    PATH,
    STORE_URL,
    Description,
    Kind,
    SettingError,
    choice,
    flag,
    has_password,
    integer,
    is_loopback,
    is_store_url,
    parse_collector,
    printable,
    seconds,
    share,
)
from scorewire_server.catalog.version_policy import DESCRIPTION, parse_version_policy

_LARGEST_RING = 1 << 30


def _policy(text: str) -> str:
    parse_version_policy(text)
    return text


_VERSION_POLICY = Kind(DESCRIPTION, _policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. The annotation of each has its valid values and its purpose."""

    models: Annotated[Path, PATH, "Folder of bundles: MODELS/<model>/<version>/."] = Path("models")
    version_policy: Annotated[
        str,
        _VERSION_POLICY,
        "Versions that are loaded without being asked for; latest counts no pre-releases.",
    ] = "all"
    watch: Annotated[
        str,
        choice("auto", "poll", "off"),
        "How the server notices new and removed bundles: by events of the file system, or by a look at"
        " intervals, since network file systems send no events.",
    ] = "auto"
    watch_seconds: Annotated[float, seconds(3600, low=0.1), "The interval of --watch poll."] = 5.0
    state_file: Annotated[
        Path | None,
        PATH,
        "File that keeps aliases, splits, shadows and the versions that were loaded or unloaded by hand;"
        " .scorewire-state.json in --models unless given.",
    ] = None
    control: Annotated[
        str,
        choice("auto", "on", "off"),
        "Whether the server answers calls that change something (load, unload, alias, split, shadow,"
        " rollback); auto is on with --access, or if --listen is a loopback address. Elsewhere, on needs"
        " --access.",
    ] = "auto"
    listen: Annotated[str, ADDRESS, "Address of the gRPC port."] = "127.0.0.1:8500"
    port_file: Annotated[
        Path | None,
        PATH,
        "File for the real address, written once all bundles are loaded; a second line has the address of"
        " the metrics.",
    ] = None
    tls_cert: Annotated[
        Path | None, PATH, "PEM file of the certificate chain; turns TLS on, with --tls-key."
    ] = None
    tls_key: Annotated[Path | None, PATH, "PEM file of the certificate's private key."] = None
    tls_client_ca: Annotated[
        Path | None,
        PATH,
        "PEM file of the authorities whose certificates clients may show as their credential (mTLS); read"
        " again when it changes. With the reference engine, clients without a certificate cannot connect.",
    ] = None
    tls_client_crl: Annotated[
        Path | None,
        PATH,
        "PEM file with the revocation lists of these authorities; read again when it changes.",
    ] = None
    access: Annotated[
        Path | None,
        PATH,
        "TOML file of who may call, with API keys, issuers of tokens, rights and limits; read again when it"
        " changes. Everybody may call unless given.",
    ] = None
    audit: Annotated[
        Path | None,
        PATH,
        "File that gets a line for each call that changes something, or tries to; it is only appended to.",
    ] = None
    metrics_port: Annotated[
        int | None,
        integer(0, LARGEST_PORT),
        "Port of Prometheus' /metrics, on the host of --listen; off unless given.",
    ] = None
    engine: Annotated[
        str,
        choice("auto", "native", "reference"),
        "The engine that answers calls; auto is native if its extension is installed, else reference.",
    ] = "auto"
    threads: Annotated[
        int,
        integer(0, 1024),
        "Threads that answer calls; 0 is one for each processor. Native engine only.",
    ] = 0
    pin_threads: Annotated[
        str, choice("off", "on"), "Whether each of --threads stays on a processor of its own."
    ] = "off"
    kernel: Annotated[
        str,
        choice("auto", "onnxruntime"),
        "What runs graphs: auto is Scorewire's own kernel for each graph that it takes, and onnxruntime for"
        " others.",
    ] = "auto"
    spin_us: Annotated[
        int,
        integer(0, 1000),
        "Longest time in microseconds that each of --threads looks for the next call before it sleeps, where"
        " calls follow each other that closely; 0 is never. Native engine only.",
    ] = 0
    graph_threads: Annotated[
        int, integer(1, 256), "Threads that one run of a graph in onnxruntime may use."
    ] = 1
    batch_threads: Annotated[int, integer(1, 256), "Threads that score large batches."] = 2
    trial_seconds: Annotated[
        float,
        seconds(3600),
        "Time for the trial of a bundle: its first load, in a sandbox process; 0 loads bundles without a"
        " trial.",
    ] = 60.0
    trial_memory_bytes: Annotated[
        int,
        integer(0, 1 << 46),
        "Memory of the sandbox; 0 is 4 GiB, or 40 times the size of the bundle's graph if that is more.",
    ] = 0
    trial_processes: Annotated[
        int,
        integer(1, 64),
        "Trials at one time; further bundles wait.",
    ] = 2
    max_rows: Annotated[int, integer(1, 10_000_000), "Most rows in one call."] = 10_000
    max_message_bytes: Annotated[
        int, integer(1024, 1 << 30), "Most bytes of one message, of requests and of answers."
    ] = 16 << 20
    max_run_seconds: Annotated[
        float,
        seconds(3600, low=0.001),
        "Longest run of a model's graph; a longer run is stopped, and its call fails.",
    ] = 60.0
    max_in_flight: Annotated[
        int, integer(1, 1_000_000), "Most prediction calls that are being answered at one time."
    ] = 1024
    max_streams: Annotated[
        int, integer(1, 1_000_000), "Most calls that are open at one time on one connection."
    ] = 1024
    max_metadata_bytes: Annotated[
        int,
        integer(4096, 1 << 17),
        "Most bytes of a call's metadata, as HTTP/2 counts them: name, value and 32 for each entry.",
    ] = 16384
    max_watches: Annotated[
        int, integer(1, 1_000_000), "Most health watches and reflection streams that are open at one time."
    ] = 4096
    max_connection_bytes: Annotated[
        int,
        integer(0, 1 << 40),
        "Most bytes of messages that were received and answers that were not sent yet, for the calls of one"
        " connection; 0 is eight times --max-message-bytes. The reference engine counts answers only.",
    ] = 0
    max_buffered_bytes: Annotated[
        int,
        integer(0, 1 << 40),
        "The same for all connections together; 0 is 64 times --max-message-bytes.",
    ] = 0
    max_connections: Annotated[
        int, integer(0, 1_000_000), "Most connections that are open at one time; 0 is no limit."
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        integer(0, 1_000_000),
        "Most connections that are open at one time from one address, which may be a proxy's; 0 is no"
        " limit. Native engine only.",
    ] = 0
    max_connection_idle_seconds: Annotated[
        float,
        seconds(86_400),
        "Time without a call after which the server asks a client to open a new connection for its next"
        " call; 0 is never.",
    ] = 1800.0
    max_stall_seconds: Annotated[
        float,
        seconds(86_400),
        "Time without progress after which the server ends a call, in the middle of a message or of an"
        " answer; 0 is never. Native engine only.",
    ] = 60.0
    max_stream_seconds: Annotated[
        float,
        seconds(86_400 * 7),
        "Time after which a stream of predictions ends as if its deadline had passed; 0 is never.",
    ] = 0.0
    max_connection_age_seconds: Annotated[
        float,
        seconds(86_400),
        "Age at which the server asks a client to open a new connection, so that load spreads; 0 is never.",
    ] = 0.0
    max_connection_age_grace_seconds: Annotated[
        float,
        seconds(86_400),
        "Time after that for calls to end, long streams too; then they get UNAVAILABLE. 0 is no limit.",
    ] = 0.0
    drain_seconds: Annotated[
        float,
        seconds(3600),
        "Pause after health turns NOT_SERVING, for balancers to see it, before clients are asked to leave.",
    ] = 2.0
    grace_seconds: Annotated[float, seconds(3600), "Time for calls to end after that pause."] = 20.0
    records: Annotated[
        Path | None,
        PATH,
        "Folder for the records of all predictions, as Parquet files RECORDS/<model>/<version>/<day>/; no"
        " records are kept unless given. Needs the package scorewire-records.",
    ] = None
    records_to: Annotated[
        str | None,
        STORE_URL,
        "PostgreSQL database that gets the records instead of Parquet files; without a password, see"
        " --records-password-file.",
    ] = None
    records_password_file: Annotated[
        Path | None,
        PATH,
        "File with the password for --records-to; without it, the variable PGPASSWORD or libpq's password"
        " file is used.",
    ] = None
    records_policy: Annotated[
        Path | None,
        PATH,
        "TOML file that says, by model, which share of predictions is recorded, which features are dropped or"
        " hashed, and how long records are kept; read again when it changes.",
    ] = None
    records_spool_bytes: Annotated[
        int,
        integer(1 << 20, 1 << 50),
        "Most bytes of records on disk that the store does not have yet; further records are dropped and"
        " counted.",
    ] = 4 << 30
    records_free_bytes: Annotated[
        int,
        integer(0, 1 << 50),
        "Least free space of the disk of --records; below it, further records are dropped and counted.",
    ] = 1 << 30
    records_segment_seconds: Annotated[
        float,
        seconds(86_400, low=0.1),
        "Time after which records are closed on disk, so that they become Parquet files.",
    ] = 300.0
    records_ring_bytes: Annotated[
        int,
        integer(0, _LARGEST_RING),
        "Most memory of each thread that answers calls, for records on their way to the disk; 0 is twice"
        " --max-message-bytes. It is taken as far as it is needed.",
    ] = 0
    traces: Annotated[
        str | None,
        COLLECTOR_URL,
        "OpenTelemetry collector that gets traces, as OTLP over gRPC; no call is traced unless given.",
    ] = None
    traces_share: Annotated[
        float,
        share(),
        "Share of the prediction calls without a traceparent that are traced. A traceparent decides for its"
        " own call.",
    ] = 0.01
    traces_per_second: Annotated[
        int,
        integer(1, 1_000_000),
        "Most calls, and messages of streams, that are traced in a second, whatever callers ask for.",
    ] = 1000
    traces_headers_file: Annotated[
        Path | None,
        PATH,
        "File with lines NAME: VALUE, headers that the collector wants, such as a token; read again for each"
        " request.",
    ] = None
    traces_service_name: Annotated[
        str, printable(200), "Name of this service in traces: service.name of OpenTelemetry."
    ] = "scorewire"
    log_format: Annotated[
        str,
        choice("auto", "console", "json"),
        "Format of the log; auto is console on a terminal, else json.",
    ] = "auto"
    log_level: Annotated[
        str, choice("debug", "info", "warning", "error"), "Lowest level of the lines that are logged."
    ] = "info"

    @property
    def connection_bytes(self) -> int:
        """The bytes that the calls of one connection may hold; see --max-connection-bytes."""
        return self.max_connection_bytes or 8 * self.max_message_bytes

    @property
    def buffered_bytes(self) -> int:
        """The bytes that all calls may hold; see --max-buffered-bytes."""
        return self.max_buffered_bytes or 64 * self.max_message_bytes

    @property
    def ring_bytes(self) -> int:
        """The memory of a thread for records; see --records-ring-bytes."""
        return self.records_ring_bytes or min(2 * self.max_message_bytes, _LARGEST_RING)

    @property
    def controllable(self) -> bool:
        """Whether the server answers calls that change something; see --control."""
        if self.control != "auto":
            return self.control == "on"
        return self.access is not None or self.on_loopback

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches --listen."""
        return is_loopback(self.listen)


_PREFIX = "SCOREWIRE_"


def variable(name: str) -> str:
    """The environment variable of a setting: SCOREWIRE_MAX_ROWS for max_rows."""
    return settings.variable(_PREFIX, name)


def describe() -> dict[str, Description]:
    """The description of each setting, by name."""
    return settings.describe(Settings, _PREFIX)


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from flags and variables.

    Args:
        flags: the text of each flag, by the setting's name; None for a flag that was not given.
        environment: the variables; those of the process unless given.

    Raises:
        SettingError: a value is not valid, or two settings contradict each other.
    """
    read = Settings(**settings.read_values(Settings, _PREFIX, flags, environment))
    _check_tls(read)
    _check_access(read)
    _check_records(read)
    _check_traces(read)
    for name, part, least in (
        ("max_connection_bytes", read.connection_bytes, 2 * read.max_message_bytes),
        ("max_buffered_bytes", read.buffered_bytes, read.connection_bytes),
        ("records_ring_bytes", read.ring_bytes, 1 << 16),
    ):
        if part < least:
            raise SettingError(f"{flag(name)} is {part}; it must be at least {least} with the other limits")
    return read


def _check_tls(settings: Settings) -> None:
    """Check the files of TLS.

    Raises:
        SettingError: a file lacks another one.
    """
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingError("--tls-cert and --tls-key are given together or not at all")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        raise SettingError("--tls-client-ca needs --tls-cert and --tls-key: only TLS has certificates")
    if settings.tls_client_crl is not None and settings.tls_client_ca is None:
        raise SettingError("--tls-client-crl needs --tls-client-ca, the authorities of the revocation lists")


def _check_access(settings: Settings) -> None:
    """Check the settings of who may call.

    Raises:
        SettingError: a setting lacks the file of who may call.
    """
    if settings.control == "on" and settings.access is None and not settings.on_loopback:
        raise SettingError(
            f"--control on would let everybody who reaches --listen {settings.listen} change versions and"
            " routes; give --access, the file of who may, or listen on a loopback address"
        )


def _check_records(settings: Settings) -> None:
    """Check the settings of records; no message has a part of the URL, which may contain a password.

    Raises:
        SettingError: a setting lacks another one, or the URL of the store cannot be used.
    """
    if settings.records is None:
        for name in ("records_to", "records_policy"):
            if getattr(settings, name) is not None:
                raise SettingError(f"{flag(name)} needs --records, the folder of records on their way")
    if settings.records_to is None:
        if settings.records_password_file is not None:
            raise SettingError("--records-password-file needs --records-to, the database of the password")
        return
    if has_password(settings.records_to):
        raise SettingError(
            "--records-to has a password, which other users of the machine could see; put it into a file for"
            " --records-password-file, or into the variable PGPASSWORD"
        )
    if not is_store_url(settings.records_to):
        raise SettingError(
            f"--records-to must be {STORE_URL.description}, with special characters percent-encoded"
        )


def _check_traces(settings: Settings) -> None:
    """Check the settings of traces; no message has a part of the URL, which may contain a password.

    Raises:
        SettingError: a setting lacks the URL, or the URL cannot be used.
    """
    if settings.traces is None:
        if settings.traces_headers_file is not None:
            raise SettingError("--traces-headers-file needs --traces, the collector that gets the headers")
        return
    try:
        parse_collector(settings.traces)
    except ValueError as error:
        raise SettingError(
            f"--traces must be {error}; credentials belong into the file of --traces-headers-file"
        ) from None


def silence_grpc() -> None:
    """Turn off the log of gRPC's C core, unless GRPC_VERBOSITY is set.

    The core logs errors that callers cause, and callers must not be able to fill the
    log. To be called before grpc is imported.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def silence_onnxruntime() -> None:
    """Turn off onnxruntime's telemetry, unless ORT_DISABLE_TELEMETRY is set.

    To be called before onnxruntime is loaded.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
