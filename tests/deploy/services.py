"""Runs the services of deploy/compose as processes: with the same commands, variables and files, on loopback.

A service of ours has the environment of its image, a read-only file system but for its volumes and /tmp, no
capability to change anything (as root, in a mount namespace), and the user of its image. Its addresses become
free ports on loopback, and its paths become folders of the test. Nothing else is changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.deploy.compose import FOLDER, ROOT, SERVICES, mounts
from tests.deploy.programs import COLLECTOR, MLFLOW, PROMETHEUS
from tests.e2e.image import instructions, make_environment
from tests.processes import TIMEOUT_SECONDS, wait_until
from tests.scorewire_records.postgresql.server import PostgresServer, binaries

# The ports that services listen on, by the name and the port in the networks of Compose.
_PORTS = {
    "server:8500": "server",
    "server:9090": "server-metrics",
    "gateway:8080": "gateway",
    "gateway:9091": "gateway-metrics",
    "mlflow:5000": "mlflow",
    "prometheus:9090": "prometheus",
    "collector:4317": "collector",
}
# Programs that stand for the images of others.
_PROGRAMS = {"prometheus": PROMETHEUS, "collector": COLLECTOR}
# What docs/stack.md sets with the profile `traces`.
TRACES = {"SCOREWIRE_TRACES": "http://collector:4317", "SCOREWIRE_TRACES_SHARE": "1"}
# MLflow imports many libraries, perhaps while other tests have the cores.
_START_SECONDS = 200
# Of the log of a service, beside a failed test.
_SHOWN = 4000
_READ_ALL = "-all,+dac_read_search"


class Service:
    """A running service.

    Attributes:
        name: the name in compose.yaml.
        process: the process.
        environment: its variables.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], log: Path, environment: dict[str, str]
    ) -> None:
        self.name = name
        self.process = process
        self.environment = environment
        self._log = log

    def log(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Stop it as Compose does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_SECONDS)


class Stack:
    """The services of a stack, in a folder that all users may enter.

    Attributes:
        folder: the folder, with secrets, volumes, environments and logs.
        postgres: the database's server.
    """

    def __init__(self, folder: Path, models: Path, scrape_key: str | None) -> None:
        self.folder = folder
        self.models = models
        self._scrape_key = scrape_key
        self._sockets = {name: _free_port() for name in _PORTS.values()}
        self._environments: dict[str, Path] = {}
        self.services: dict[str, Service] = {}
        script = folder / "secrets.sh"
        shutil.copyfile(FOLDER / "secrets.sh", script)
        subprocess.run(["sh", script], check=True, capture_output=True)
        # Root may read all secrets, but the user of a service has only that of its container.
        (folder / "secrets").chmod(0o711)
        if scrape_key is not None:
            (folder / "secrets/scrape").write_text(scrape_key, encoding="ascii")
        programs = binaries()
        assert programs is not None
        (folder / "postgres").mkdir()
        self.postgres = PostgresServer(programs, folder / "postgres", host_authentication="scram-sha-256")

    def address(self, name: str) -> str:
        """The address of a port, such as `gateway` or `server-metrics`."""
        return f"127.0.0.1:{self._sockets[name]}"

    def secret(self, name: str) -> str:
        """A password."""
        return (self.folder / "secrets" / name).read_text(encoding="ascii")

    def start_postgres(self) -> None:
        """Start PostgreSQL, and make its databases as the image does at its first start."""
        self.postgres.start()
        script = self.folder / "databases.sql"
        source = (ROOT / "deploy/postgres/databases.sql").read_text(encoding="utf-8")
        script.write_text(self._translated(source), encoding="utf-8")
        connection = ["-h", self.postgres.folder, "-p", str(self.postgres.port), "-U", "postgres"]
        # Unlike PostgreSQL's own programs, psql runs as root: it reads the secrets.
        subprocess.run(
            ["psql", "--no-psqlrc", *connection, "-v", "ON_ERROR_STOP=1", "-f", script],
            check=True,
            capture_output=True,
        )

    def start(self, name: str, **variables: str) -> Service:
        """Start a service, with further variables; `wait_ready` waits until it is well."""
        service = SERVICES[name]
        image = service.get("build", {}).get("target", "")
        command = [
            *service.get("entrypoint", _entrypoint(image) if image else [str(_PROGRAMS.get(name, name))]),
            *(self._with_ports(name, word) for word in service.get("command", ())),
        ]
        if name == "prometheus":  # its image listens on all addresses
            command.append(f"--web.listen-address={self.address(name)}")
        environment = {"PATH": os.environ["PATH"]} | _variables(image) | service.get("environment", {})
        if image:
            # The image's PATH begins with that of its environment.
            environment["PATH"] = f"{self._environment(image)}:{os.environ['PATH']}"
        # A variable without a value is passed on if it is set.
        environment = {
            key: self._translated(value) for key, value in (environment | variables).items() if value
        }
        home = self.folder / "homes" / name
        home.mkdir(parents=True)
        environment = {"TMPDIR": str(home)} | environment | {"HOME": str(home)}
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._contained(name, [self._translated(word) for word in command], home),
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        started = self.services[name] = Service(name, process, log, environment)
        return started

    def wait_ready(self, name: str) -> None:
        """Wait until the health check of a service finds it well."""
        service, check = self.services[name], self._health_check(name)

        def is_well() -> bool:
            asked = subprocess.run(check, env=service.environment, capture_output=True, check=False)
            return service.process.poll() is not None or asked.returncode == 0

        wait_until(is_well, f"{name} is well", _START_SECONDS)
        assert service.process.poll() is None, f"{name} ended:\n{service.log()}"

    def run_once(self, name: str) -> str:
        """Run a service that ends by itself, and return what it printed."""
        started = self.start(name)
        assert started.process.wait(TIMEOUT_SECONDS) == 0, started.log()
        return started.log()

    def logs(self) -> str:
        """The end of what each service has printed."""
        return "\n\n".join(f"{name}:\n{each.log()[-_SHOWN:]}" for name, each in self.services.items())

    def stop(self) -> None:
        """Stop what runs, the last that was started first."""
        for service in reversed(self.services.values()):
            service.stop()
        self.postgres.stop(signal.SIGQUIT)

    def _environment(self, image: str) -> Path:
        if image == "mlflow":
            return MLFLOW.parent
        if image not in self._environments:
            (self.folder / image).mkdir()
            self._environments[image] = make_environment(
                image, self.folder / image, native=image.startswith("server")
            )
        return self._environments[image]

    def _health_check(self, name: str) -> list[str]:
        """The command of the health check, of the service or of its image."""
        if "healthcheck" in SERVICES[name]:
            check = SERVICES[name]["healthcheck"]["test"][1:]
        else:
            image = SERVICES[name]["build"]["target"]
            checks = [each for word, each in instructions(image) if word == "HEALTHCHECK"]
            check = json.loads(checks[-1].partition("CMD ")[2])
        # Inside a container, a service is on loopback with its own port.
        own = [word.replace("127.0.0.1:", f"{name}:").replace("localhost:", f"{name}:") for word in check]
        return [self._translated(word) for word in own]

    def _contained(self, name: str, command: list[str], home: Path) -> list[str]:
        """The command, with as few rights as in its container; as it is, where that takes more rights."""
        if not _can_contain():
            return command
        uid, gid = SERVICES[name].get("user", "10001:10001").split(":")
        volumes = [source for source in mounts(SERVICES[name]).values() if "/" not in source]
        writable = [home, *map(self._mounted, volumes)]
        for path in writable:
            shutil.chown(path, int(uid), int(gid))
        script = " && ".join(
            [
                *(f"mount --bind {path} {path}" for path in writable),
                "mount -o remount,bind,ro /",
                # Reading everything stands for paths that are in the image.
                f"exec setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs"
                f' --inh-caps={_READ_ALL} --ambient-caps={_READ_ALL} --bounding-set={_READ_ALL} "$@"',
            ]
        )
        return ["unshare", "--mount", "sh", "-c", script, "sh", *command]

    def _mounted(self, source: str) -> Path:
        """The folder or file on this machine for what a service mounts."""
        if source.endswith("build/demo/models"):
            return self.models
        if source.startswith("."):
            return self._copied((FOLDER / source).resolve())
        volume = self.folder / "volumes" / source
        volume.mkdir(parents=True, exist_ok=True)
        return volume

    def _copied(self, source: Path) -> Path:
        """A copy of a file or folder of deploy/, with the addresses of this stack."""
        copy = self.folder / source.relative_to(ROOT)
        if not copy.exists():
            for path in (
                [source] if source.is_file() else [each for each in source.rglob("*") if each.is_file()]
            ):
                target = self.folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                # Prometheus asks more often, so that tests wait less.
                text = path.read_text(encoding="utf-8").replace("_interval: 15s", "_interval: 1s")
                text = text.replace("127.0.0.1:9090", self.address("prometheus"))
                if self._scrape_key is not None:
                    # As docs/stack.md says.
                    text = text.replace("    # authorization:", "    authorization:")
                text = text.replace("/run/secrets/", f"{self.folder}/secrets/")
                target.write_text(self._with_addresses(text), encoding="utf-8")
        return copy

    def _translated(self, text: str) -> str:
        """A word of a command, or a file, with the paths and the addresses of this stack."""
        text = text.replace("/run/secrets/", f"{self.folder}/secrets/")
        paths = {path: source for service in SERVICES.values() for path, source in mounts(service).items()}
        for path in sorted(paths, key=len, reverse=True):
            if path not in text or path == "/var/lib/postgresql/data":
                continue
            text = re.sub(rf"(?<![\w/.]){re.escape(path)}(?=/|$|\s)", str(self._mounted(paths[path])), text)
        return self._with_addresses(text)

    def _with_ports(self, name: str, word: str) -> str:
        """An option of a service, with its port or host on loopback."""
        if found := re.fullmatch(r"(--(?:metrics-)?port=)(\d+)", word):
            return found[1] + self.address(_PORTS[f"{name}:{found[2]}"]).partition(":")[2]
        return word.replace("--host=0.0.0.0", "--host=127.0.0.1")

    def _with_addresses(self, text: str) -> str:
        text = text.replace("@postgres/", f"@127.0.0.1:{self.postgres.port}/")
        for name, port in _PORTS.items():
            text = text.replace(name, self.address(port))
        for port in ("8500", "8080", "4317"):
            name = next(known for known in _PORTS if known.endswith(f":{port}"))
            text = text.replace(f"0.0.0.0:{port}", self.address(_PORTS[name]))
        return text


@contextmanager
def running_stack(
    models: Path, *, access: Path | None = None, scrape_key: str | None = None
) -> Iterator[Stack]:
    """PostgreSQL, a collector, a server that records, the gateway and Prometheus, all well.

    Args:
        models: the folder of models.
        access: an access file for the server.
        scrape_key: the API key with which Prometheus asks the server for its metrics.
    """
    with _files_for_everyone(), tempfile.TemporaryDirectory(prefix="scorewire-stack-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(models, folder / "models")
        stack = Stack(folder, folder / "models", scrape_key)
        variables = TRACES
        if access is not None:
            shutil.copyfile(access, folder / "access.toml")
            variables = {**TRACES, "SCOREWIRE_ACCESS": str(folder / "access.toml")}
        try:
            stack.start_postgres()
            assert "is ready for records" in stack.run_once("records-schema")
            stack.start("collector")
            for service in ("server", "gateway", "prometheus"):
                stack.start(service, **(variables if service == "server" else {}))
                stack.wait_ready(service)
            yield stack
        finally:
            stack.stop()


@contextmanager
def _files_for_everyone() -> Iterator[None]:
    """As in an image, whatever the umask here is."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _entrypoint(image: str) -> list[str]:
    (found,) = [arguments for name, arguments in instructions(image) if name == "ENTRYPOINT"]
    words: list[str] = json.loads(found)
    return words


def _variables(image: str) -> dict[str, str]:
    pairs = [pair for name, arguments in instructions(image) if name == "ENV" for pair in arguments.split()]
    return dict(pair.split("=", 1) for pair in pairs)


@cache
def _can_contain() -> bool:
    """Whether this process may make mount namespaces."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
