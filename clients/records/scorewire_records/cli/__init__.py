"""`scorewire records`: keep the records of predictions, and ask about them."""

from __future__ import annotations

from importlib import import_module

import click

# The commands in the order of the help. Each is in a module of its name.
COMMANDS = ("status", "tail", "query", "stats", "export", "init", "ship", "expire")


class _Commands(click.Group):
    """Imports a command only when it is called: a shipper that runs for good needs no DuckDB."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command


@click.command(cls=_Commands)
def records() -> None:
    """Keep the records of predictions, and ask about them.

    A server that was started with `scorewire serve --records DIR` records its predictions in DIR. Give the
    same DIR to these commands. They also work while the server runs.
    """
