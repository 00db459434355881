"""Checks command lines in pages without running them: their options, targets and modules exist."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.util import find_spec

import click

from scorewire_contract.cli import main
from tests.docs.pages import ROOT

# What a page shows and a test does not do, because it changes the machine.
_ELSEWHERE = {
    "apt-get",
    "cd",
    "docker",
    "git",
    "kill",
    "kubectl",
    "make",
    "npm",
    "pip",
    "python3",
    "source",
    "sudo",
}
# What is run where it is installed.
_OPTIONAL = {"curl", "ghz", "grpcurl", "openssl"}


def is_run(command: str) -> bool:
    """Whether a test can run a command line of a page."""
    words = _words(command)
    if not words or words[0] in _ELSEWHERE or words[:2] == ["python", "-m"]:
        return False
    return words[0] not in _OPTIONAL or shutil.which(words[0]) is not None


def check_command(command: str) -> None:
    """Check a command line without running it.

    Raises:
        ValueError: it names a command, an option, a target or a module that does not exist.
    """
    words = _words(command)
    if words[:1] == ["scorewire"]:
        _check_options(words[1:])
    elif words[:1] == ["make"]:
        _check_targets([word for word in words[1:] if "=" not in word])
    elif words[:2] == ["python", "-m"] and words[2].startswith("tests") and find_spec(words[2]) is None:
        raise ValueError(f"there is no module {words[2]}")


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command, comments=True)
    except ValueError as error:
        raise ValueError(f"{command!r}: {error}") from None
    # What comes after the command itself, such as a file for its output, is not the command's.
    ends = [i for i, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";", "&")]
    words = words[: ends[0]] if ends else words
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def _check_options(words: list[str]) -> None:
    command: click.Command = main
    context = click.Context(main, info_name="scorewire")
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise ValueError(f"there is no command {words[0]!r} in {context.command_path!r}")
        command, words = found, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    try:
        command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise ValueError(f"{context.command_path}: {error.format_message()}") from None


def _check_targets(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    unknown = [target for target in targets if not target.startswith("-") and target not in known]
    if unknown:
        raise ValueError(f"the Makefile has no target {', '.join(unknown)}")
