"""Runs the snippets of a page in order, in one namespace and one folder, and tells where one fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.docs.commands import check_command, is_run
from tests.docs.pages import Block
from tests.docs.world import World
from tests.processes import COMMAND, ServerProcess, own_environment, service, serving

COMMAND_SECONDS = 120
# The addresses in pages, and what stands for them: the services of the page have ports of the system.
_GRPC = re.compile(r"\b(?:127\.0\.0\.1|localhost):8500\b")
_METRICS = re.compile(r"\b(?:127\.0\.0\.1|localhost):9090\b")
_HTTP = re.compile(r"\b(?:127\.0\.0\.1|localhost):8080\b")
_CALLS_A_SERVER = ("predict", "models", "proto", "load")
_LAST_WORDS = ("--listen", "127.0.0.1:0", "--metrics-port", "0", "--drain-seconds", "0")
_WRAPPER = """\
#!/bin/sh
case "$1" in
{calls}) exec {command} "$@" --address {address};;
*) exec {command} "$@";;
esac
"""


class SnippetError(AssertionError):
    """A snippet of a page failed; the message has the page, the line and the reason."""


class PageRun:
    """A page whose snippets run in a folder, which is the working folder meanwhile.

    The first snippet that calls a server starts one with the page's models. A command
    `scorewire serve` starts another in its place, with the command's options. It is the
    same with gateways and `scorewire gateway`.
    """

    def __init__(self, page: str, folder: Path, world: World) -> None:
        self._page = page
        self._folder = folder
        self._world = world
        self._names: dict[str, Any] = {"__name__": "__main__", **world.names}
        self._programs = folder.with_name(f"{folder.name}-programs")
        self._servers = ExitStack()
        self._server: ServerProcess | None = None
        self._gateways = ExitStack()
        self._gateway: ServerProcess | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._world.copy_files(self._folder)
        self._programs.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gateways.close()
        self._servers.close()

    def run(self, block: Block) -> None:
        """Run a block, or check its command lines if it is marked `not run`.

        Raises:
            SnippetError: a snippet failed, or its output is not what the page shows.
        """
        if block.language == "console":
            self._run_console(block)
        elif block.language == "python" and block.marker != "not run":
            self._run_python(block)

    def _run_python(self, block: Block) -> None:
        if "Client(" in block.text or _GRPC.search(block.text):
            self._need_server()
        if _HTTP.search(block.text):
            self._need_gateway()
        text = self._substitute(block.text)
        if re.search(r"^(async )?def test_", text, re.MULTILINE):
            self._run_tests(block, text)
            return
        try:
            # The lines of a traceback are those of the page.
            code = compile("\n" * (block.line - 1) + text, self._page, "exec")
            exec(code, self._names)  # noqa: S102 - the pages are ours
        except Exception as error:
            if block.marker == "fails":
                return
            own = [
                each.lineno
                for each in traceback.extract_tb(error.__traceback__)
                if each.filename == self._page
            ]
            line = own[-1] if own else getattr(error, "lineno", None) or block.line
            self._fail(line or block.line, f"{type(error).__name__}: {error}", error)
        if block.marker == "fails":
            self._fail(block.line, "the snippet does not fail")

    def _run_tests(self, block: Block, text: str) -> None:
        path = self._folder / f"test_line_{block.line}.py"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        if done.returncode:
            self._fail(block.line, done.stdout + done.stderr)

    def _run_console(self, block: Block) -> None:
        for command, shown, line in _read_commands(block):
            try:
                check_command(command)
                if block.marker == "not run" or not is_run(command):
                    continue
            except ValueError as error:
                self._fail(line, str(error))
            words = command.split("#")[0].replace("\\\n", " ").split()
            is_asked_only = "--help" in words or "--version" in words
            if words[:2] == ["scorewire", "serve"] and not is_asked_only:
                self._serve(words[2:])
            elif words[:2] == ["scorewire", "gateway"] and not is_asked_only:
                self._serve_http(words[2:])
            else:
                self._run_command(command, shown, line, fails=block.marker == "fails")

    def _run_command(self, command: str, shown: list[str], line: int, *, fails: bool) -> None:
        if re.search(rf"\bscorewire ({'|'.join(_CALLS_A_SERVER)})\b", command) or _GRPC.search(command):
            self._need_server()
        if _HTTP.search(command):
            self._need_gateway()
        environment = own_environment()
        paths = [self._programs, Path(sys.executable).parent, environment["PATH"]]
        environment["PATH"] = os.pathsep.join(map(str, paths))
        try:
            done = subprocess.run(
                ["bash", "-c", self._substitute(command)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._fail(line, f"{command}: it has not ended after {COMMAND_SECONDS} s")
        if (done.returncode != 0) != fails:
            self._fail(line, f"{command}: exit code {done.returncode}\n{done.stdout}")
        told = " ".join(done.stdout.split())
        for wanted in shown:
            pattern = ".*".join(
                re.escape(" ".join(part.split())) for part in self._substitute(wanted).split("...")
            )
            if not re.search(pattern, told):
                self._fail(line, f"{command}: its output has no {wanted!r}\n{done.stdout}")

    def _need_server(self) -> None:
        if self._server is None:
            self._serve([])

    def _serve(self, options: list[str]) -> None:
        self._servers.close()
        self._world.add_models(self._folder / "models")
        folder = self._programs / "server"
        flags = (*options, *_LAST_WORDS)
        self._server = self._servers.enter_context(serving(folder, self._folder / "models", *flags))
        wrapper = self._programs / "scorewire"
        calls = "|".join(_CALLS_A_SERVER)
        wrapper.write_text(
            _WRAPPER.format(calls=calls, command=COMMAND, address=self._server.address), encoding="utf-8"
        )
        wrapper.chmod(0o755)

    def _need_gateway(self) -> None:
        if self._gateway is None:
            self._serve_http(["--server", "127.0.0.1:8500"])

    def _serve_http(self, options: list[str]) -> None:
        self._need_server()
        self._gateways.close()
        # The options of the page come first, since those of the test hold.
        command = [COMMAND, "gateway", *map(self._substitute, options)]
        self._gateway = self._gateways.enter_context(service(self._programs / "gateway", *command))

    def _substitute(self, text: str) -> str:
        if self._gateway is not None:
            text = _HTTP.sub(self._gateway.address, text)
        if self._server is None:
            return text
        return _METRICS.sub(self._server.metrics_address, _GRPC.sub(self._server.address, text))

    def _fail(self, line: int, reason: str, cause: BaseException | None = None) -> None:
        raise SnippetError(f"{self._page}:{line}: {reason}") from cause


def _read_commands(block: Block) -> list[tuple[str, list[str], int]]:
    """Each command of a console block, what the page shows of its output, and its line."""
    commands: list[tuple[str, list[str], int]] = []
    lines = iter(enumerate(block.text.splitlines(), block.line))
    for number, line in lines:
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            while command.endswith("\\"):
                command += "\n" + next(lines)[1]
            commands.append((command, [], number))
        elif commands and line.strip():
            commands[-1][1].append(line.strip())
    return commands
