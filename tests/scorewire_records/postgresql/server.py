"""A PostgreSQL server of the tests' own, on loopback, in a temporary folder, not as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from scorewire_records.postgresql.connection import Connection, Database
from tests.processes import TIMEOUT_SECONDS, wait_until

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "20",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
    "timezone": "Asia/Kolkata",
}


def binaries() -> Path | None:
    """The folder of the newest installed server's programs; None if there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class PostgresServer:
    """A server that can be stopped, killed, paused and started again; its superuser is `postgres`.

    Attributes:
        folder: its folder, with the log and the Unix socket.
        data: the folder of its data.
        port: the port on 127.0.0.1.
    """

    def __init__(self, programs: Path, folder: Path, *, host_authentication: str = "trust") -> None:
        self._programs = programs
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = _other_user() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        trust = ["--auth-local=trust", f"--auth-host={host_authentication}"]
        kind = [*trust, "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]
        self.run("initdb", "--no-sync", *kind, "-D", self.data)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """The URL over loopback."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str = "postgres", *, user: str = "postgres") -> Database:
        return Database.of_url(self.url(name, user=user))

    def connect(self, name: str = "postgres") -> Connection:
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=name, autocommit=True
        )

    def start(self) -> None:
        settings = _SETTINGS | {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = self._as_user(self._programs / "postgres", "-D", self.data, *options)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        wait_until(self._is_ready, "PostgreSQL")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: by SIGINT in order, by SIGQUIT at once, as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(TIMEOUT_SECONDS)
            self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all processes of the server where they are."""
        processes = [self.pid, *self.backends()]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def backends(self) -> list[int]:
        """The processes of the server that are not its first."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children]

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs."""
        command = self._as_user(self._programs / program, *arguments)
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_user(self, *command: str | Path) -> list[str]:
        """The command, run as another user if this one is root.

        Not by Popen's `user`, for which the process would be forked: threads of gRPC do not survive that.
        """
        if self._user is None:
            return list(map(str, command))
        identity = ["--reuid", self._user.pw_uid, "--regid", self._user.pw_gid, "--clear-groups"]
        return ["setpriv", *map(str, identity), *map(str, command)]


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A new server, which is stopped and removed at the end."""
    programs = binaries()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="scorewire-pg-") as folder:
        server = PostgresServer(programs, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def _other_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
