"""The commands `scorewire keys`: API keys of an access file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_server.access.editing import add_key, read_access_file, remove_key
from scorewire_server.access.tables import AccessError
from scorewire_server.engine.access import Right

_MOST_DAYS = 36_500
_WHOLE_KEY = re.compile(r"scorewire_([0-9a-f]{8})_[0-9a-f]*")
_EXAMPLES = """\b
Examples:
  scorewire keys new shop --access access.toml --predict '*' > shop.key
  scorewire serve --access access.toml
  scorewire keys list --access access.toml
To replace a key, make a further one, give it to its users, and remove the first one:
  scorewire keys new shop --access access.toml > shop.key
  scorewire keys remove 3f9a1c2b --access access.toml"""
_PATTERNS = "a model, or a beginning like 'game-*'; '*' is all models. May be repeated."


def _access(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--access",
        "path",
        metavar="FILE",
        required=True,
        type=click.Path(path_type=Path),
        help="The access file (TOML), as of `scorewire serve --access`.",
    )(command)


@click.group(epilog=_EXAMPLES)
def keys() -> None:
    """Make, list and remove the API keys of callers.

    A caller shows its key with each call, and may then do what the access file says
    for the principal that has the key. The file has a hash of each key only. A server
    that runs with the file takes each change within a second.
    """


@keys.command()
@click.argument("name")
@_access
@click.option("--predict", multiple=True, metavar="MODELS", help=f"May predict with these: {_PATTERNS}")
@click.option(
    "--observe", multiple=True, metavar="MODELS", help=f"May see the statistics of these: {_PATTERNS}"
)
@click.option(
    "--control",
    multiple=True,
    metavar="MODELS",
    help=f"May load, unload and route versions of these: {_PATTERNS}",
)
@click.option(
    "--expires-days",
    type=click.IntRange(1, _MOST_DAYS),
    metavar="DAYS",
    help="Days after which the key is refused; it never expires unless given.",
)
def new(
    *,
    name: str,
    path: Path,
    predict: Sequence[str],
    observe: Sequence[str],
    control: Sequence[str],
    expires_days: int | None,
) -> None:
    """Make a key for the principal NAME, and print it.

    The key is printed once, alone on the standard output; nobody can find it out
    later. A principal that is not in the file is added with the rights that the
    options say. One that exists gets a further key, and all its keys are valid.
    """
    rights = {
        right: patterns
        for right, patterns in (
            (Right.PREDICT, predict),
            (Right.OBSERVE, observe),
            (Right.CONTROL, control),
        )
        if patterns
    }
    expires = None
    if expires_days is not None:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=expires_days)
    try:
        check_model_name(name, what="NAME")
        key = add_key(path, name, rights, expires)
    except (AccessError, InvalidNameError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(key.text)
    until = "does not expire" if expires is None else f"expires at {_time(expires)}"
    click.echo(
        f"Key {key.id} of {name} {until}. Keep it now: {path} has its hash only, and it is not shown again.",
        err=True,
    )


@keys.command("list")
@_access
def list_(path: Path) -> None:
    """List the keys of the file: principal, id, and when each expires."""
    try:
        file = read_access_file(path)
    except AccessError as error:
        raise click.ClickException(str(error)) from None
    if not file.key_ids:
        click.echo(f"{path} has no keys; `scorewire keys new` makes one", err=True)
        return
    now = datetime.now(UTC)
    rows = [("PRINCIPAL", "ID", "EXPIRES")]
    for key_id, digest in file.key_ids.items():
        grant = file.table.keys[digest]
        expires = "never"
        if grant.expires is not None:
            end = datetime.fromtimestamp(grant.expires, UTC)
            expires = _time(end) + (" (expired)" if end <= now else "")
        rows.append((grant.principal.name, key_id, expires))
    width = max(len(name) for name, _, _ in rows)
    for principal, key_id, expires in rows:
        click.echo(f"{principal:<{width}}  {key_id:<8}  {expires}")


@keys.command()
@click.argument("key_id", metavar="ID")
@_access
def remove(key_id: str, path: Path) -> None:
    """Remove the key ID, so that callers who show it are refused.

    ID is the part of the key between its underscores, and in the list of keys. The
    principal stays, with its rights and other keys.
    """
    whole = _WHOLE_KEY.fullmatch(key_id)
    if whole is not None:
        # Not shown again: the command line of a process is visible to others, so the key is to be replaced.
        raise click.ClickException(f"give the id of the key only, which is {whole[1]}, and never the key")
    try:
        name = remove_key(path, key_id)
    except AccessError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Key {key_id} of {name} is removed.", err=True)


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
