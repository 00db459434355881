"""Reads the Dockerfile without Docker."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction of the Dockerfile and its arguments, lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        yield name.upper(), " ".join(arguments.split())


def copied_paths() -> list[str]:
    """The paths that are copied from the repository, in order."""
    return [
        path
        for name, arguments in instructions()
        if name == "COPY" and "--from=" not in arguments
        for path in arguments.split()[:-1]
    ]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last rule that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        if _pattern(rule.removeprefix("!")).fullmatch(path):
            sent = rule.startswith("!")
    return sent


def copy_for_image(source: str, context: Path) -> Path:
    """Copy a folder of the repository as a build of the image gets it; returns the copy's path."""
    for path in (ROOT / source).rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and is_sent(name):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, context / name)
    return context / source


def _pattern(rule: str) -> re.Pattern[str]:
    """Whether a rule of .dockerignore matches a path or a folder above it."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    return re.compile("".join(parts.get(token) or re.escape(token) for token in tokens) + "(?:/.*)?")
