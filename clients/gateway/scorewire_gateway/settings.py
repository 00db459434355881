"""The gateway's settings: one frozen object, from flags and SCOREWIRE_GATEWAY_* variables.

A flag wins over its variable, and the variable over the default. Every value is
checked here, once. No other module reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from scorewire_contract.service import settings
from scorewire_contract.service.settings import (
    ADDRESS,
    LARGEST_PORT,
    PATH,
    Description,
    Kind,
    SettingError,
    choice,
    host_of,
    integer,
    is_loopback,
    seconds,
    several,
)

_PREFIX = "SCOREWIRE_GATEWAY_"
_MAX_NAME = 253
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIBRARY_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


def _host(text: str) -> str:
    """A name of a host, as a Host header has it, without a port."""
    name = text.lower().strip("[]")
    if not name or len(name) > _MAX_NAME or any(each in name for each in "/@ ") or not name.isascii():
        raise ValueError(text)
    if ":" in name:
        ip_address(name)
    return name


def _origin(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if scheme not in ("http", "https") or not separator or not host or set(host) & set("/?#@* "):
        raise ValueError(text)
    return text.lower()


def _folder(text: str) -> tuple[str, Path]:
    """The name of a folder, "" without one, and its path."""
    name, separator, path = text.partition("=")
    if not separator:
        name, path = "", text
    elif not _FOLDER_NAME.fullmatch(name):
        raise ValueError(text)
    if not path:
        raise ValueError(text)
    return name, Path(path)


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


_SERVER = Kind("HOST:PORT, several separated by commas, dns:///HOST:PORT or unix:PATH", _text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. The annotation of each has its valid values and its purpose."""

    server: Annotated[str, _SERVER, "Address of the scoring server; must be given."]
    server_tls: Annotated[
        str,
        choice("auto", "on", "off"),
        "TLS to the server; auto is on if another --server-tls option is given.",
    ] = "auto"
    server_tls_ca: Annotated[
        Path | None, PATH, "PEM file of the authorities to trust; those that gRPC ships unless given."
    ] = None
    server_tls_cert: Annotated[
        Path | None,
        PATH,
        "PEM file of the gateway's certificate for the server, with --server-tls-key. If the server's access"
        " file gives it rights, requests without a credential of their own have them.",
    ] = None
    server_tls_key: Annotated[Path | None, PATH, "PEM file of that certificate's private key."] = None
    server_tls_name: Annotated[
        str | None,
        Kind("a name", _text),
        "Name in the server's certificate, if it is not that of the address.",
    ] = None
    server_access: Annotated[
        str,
        choice("off", "on"),
        "Whether the server is asked who may use jobs, files and records; with a server without --access,"
        " everybody may. off: whoever reaches the gateway may, also while the server does not answer.",
    ] = "on"
    server_channels: Annotated[int, integer(1, 64), "Connections to each server, used in turn."] = 1
    listen: Annotated[str, ADDRESS, "Address of the HTTP port."] = "127.0.0.1:8080"
    port_file: Annotated[
        Path | None,
        PATH,
        "File for the real address, written once the gateway listens; a second line has the address of the"
        " metrics.",
    ] = None
    tls_cert: Annotated[
        Path | None, PATH, "PEM file of the certificate chain; turns HTTPS on, with --tls-key."
    ] = None
    tls_key: Annotated[Path | None, PATH, "PEM file of the certificate's private key."] = None
    hosts: Annotated[
        tuple[str, ...],
        several(Kind("names of hosts without ports", _host)),
        "Names that a request's Host header may have, besides localhost and the address of --listen. Other"
        " names are refused, if --listen is a loopback address or names are given.",
    ] = ()
    cors_origin: Annotated[
        tuple[str, ...],
        several(Kind("origins like https://example.com", _origin)),
        "Origins of web pages that may call the gateway from a browser; only its own pages unless given.",
    ] = ()
    metrics_port: Annotated[
        int | None,
        integer(0, LARGEST_PORT),
        "Port of Prometheus' /metrics, on the host of --listen; off unless given.",
    ] = None
    timeout: Annotated[
        float,
        seconds(3600, low=0.001),
        "Time for the answer to one request; a request asks for less with the header Grpc-Timeout.",
    ] = 30.0
    max_body_bytes: Annotated[
        int, integer(1024, 1 << 30), "Most bytes of a request's body, except of uploads."
    ] = 4 << 20
    max_upload_bytes: Annotated[
        int, integer(1024, 1 << 40), "Most bytes of an uploaded table, which waits on the disk."
    ] = 256 << 20
    max_upload_rows: Annotated[int, integer(1, 1 << 40), "Most rows of a table to be scored."] = 10_000_000
    max_uploads: Annotated[
        int, integer(1, 1000), "Most uploads that are being answered at one time; more get 429."
    ] = 4
    max_in_flight: Annotated[
        int, integer(1, 100_000), "Most requests that are being answered at one time; more get 429."
    ] = 256
    max_connections: Annotated[
        int, integer(1, 1_000_000), "Most connections that are open at one time; more get 503."
    ] = 2048
    max_stall_seconds: Annotated[
        float,
        seconds(3600, low=0.01),
        "Time for the head of a request, for each further piece of its body, and for a client to take each"
        " piece of the answer.",
    ] = 20.0
    max_idle_seconds: Annotated[
        float, seconds(86_400, low=1), "Time after which a connection without a request is closed."
    ] = 75.0
    records: Annotated[
        str | None,
        Kind("a folder, or a URL like postgresql://USER@HOST:PORT/DATABASE", _text),
        "Records of predictions that /records and the console tell, only to read: the folder of the server's"
        " --records, or the database of its --records-to. Off unless given.",
    ] = None
    records_password_file: Annotated[
        Path | None,
        PATH,
        "File with the password for the database of --records, one line; without it, the variable PGPASSWORD"
        " or libpq's password file.",
    ] = None
    drain_seconds: Annotated[
        float,
        seconds(3600),
        "Pause after /health turns 503, for balancers to see it, before the port closes.",
    ] = 2.0
    grace_seconds: Annotated[float, seconds(3600), "Time for requests to end after that pause."] = 20.0
    files: Annotated[
        tuple[tuple[str, Path], ...],
        several(Kind("DIR, or NAME=DIR for each of several", _folder)),
        "Folders whose files may be downloaded at /files: reports, model cards, scores. Off unless given.",
    ] = ()
    jobs: Annotated[
        Path | None,
        PATH,
        "Folder of training jobs, which turns /jobs on; it needs the package scorewire-training.",
    ] = None
    jobs_models: Annotated[
        Path | None,
        PATH,
        "Folder of models, which a server watches: bundles of jobs may be published to it.",
    ] = None
    jobs_running: Annotated[int, integer(1, 64), "Most training jobs that run at one time."] = 1
    jobs_waiting: Annotated[
        int, integer(1, 1000), "Most training jobs that wait or are being uploaded; more get 429."
    ] = 8
    jobs_kept: Annotated[
        int, integer(1, 10_000), "Most training jobs that are kept when they have ended; the oldest go."
    ] = 50
    jobs_disk_bytes: Annotated[
        int, integer(1 << 20, 1 << 50), "Most bytes of all files of all training jobs."
    ] = 10 << 30
    jobs_free_bytes: Annotated[
        int, integer(0, 1 << 50), "Bytes of the disk that training jobs leave free."
    ] = 1 << 30
    jobs_memory_bytes: Annotated[int, integer(256 << 20, 1 << 50), "Most memory of one training job."] = (
        4 << 30
    )
    jobs_niceness: Annotated[
        int, integer(0, 19), "How far training jobs stand back for others when cores are busy, as for nice."
    ] = 10
    jobs_seconds: Annotated[float, seconds(30 * 86_400, low=1), "Longest time that a training job runs."] = (
        6 * 3600.0
    )
    log_format: Annotated[
        str,
        choice("auto", "console", "json"),
        "Format of the log; auto is console on a terminal, else json.",
    ] = "auto"
    log_level: Annotated[
        str, choice("debug", "info", "warning", "error"), "Lowest level of the lines that are logged."
    ] = "info"

    @property
    def host(self) -> str:
        """The host of --listen, without brackets."""
        return host_of(self.listen)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches --listen."""
        return is_loopback(self.listen)


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
    values = settings.read_values(Settings, _PREFIX, flags, environment)
    if "server" not in values:
        raise SettingError(
            "--server is missing: give HOST:PORT of the scoring server, such as 127.0.0.1:8500"
        )
    read = Settings(**values)
    for cert, key in (("tls_cert", "tls_key"), ("server_tls_cert", "server_tls_key")):
        if (getattr(read, cert) is None) != (getattr(read, key) is None):
            raise SettingError(
                f"{settings.flag(cert)} and {settings.flag(key)} are given together or not at all"
            )
    names = [name for name, _ in read.files]
    if len(set(names)) < len(names) or ("" in names and len(names) > 1):
        raise SettingError("--files: several folders need a name each, such as reports=/srv/reports")
    for _, folder in read.files:
        if not folder.is_dir():
            raise SettingError(f"--files: {folder} is not a folder")
    if read.jobs_models is not None and read.jobs is None:
        raise SettingError("--jobs-models needs --jobs, the folder of training jobs")
    if read.records is None and read.records_password_file is not None:
        raise SettingError("--records-password-file is for the database of --records")
    return read


def library_variables() -> dict[str, str]:
    """The variables that a process may need to find its libraries; none of them has a secret."""
    return {name: os.environ[name] for name in _LIBRARY_VARIABLES if name in os.environ}


def silence_grpc() -> None:
    """Turn off the log of gRPC's C core, unless GRPC_VERBOSITY is set; before grpc is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
