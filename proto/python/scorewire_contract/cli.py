"""The `scorewire` command: one group whose subcommands the distributions bring.

A distribution names its subcommands under the entry point group
`scorewire.commands`. This table says what they are for, so that `--help`
imports none of them.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version

import click

_TRAINING = "scorewire-training[xgboost-cpu]"
# Subcommand: the distribution that brings it, and what it does.
COMMANDS = {
    "train": (_TRAINING, "Train a model on your data and export it as a bundle."),
    "export": (_TRAINING, "Export a saved XGBoost or LightGBM model, or an ONNX file."),
    "verify": (_TRAINING, "Check a bundle and score its golden rows."),
    "serve": ("scorewire-server", "Serve bundles over gRPC."),
    "predict": ("scorewire[pandas]", "Score a CSV or Parquet file through a server."),
    "proto": ("scorewire", "Print the protobuf schema of a model's typed service."),
    "models": ("scorewire[models]", "See which versions answer, change that, and compare them."),
    "load": ("scorewire-loadtest", "Put load on a server and report its latency."),
}


class _Commands(click.Group):
    """A group that imports a subcommand only when it is called."""

    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="scorewire.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._installed().get(cmd_name)
        if point is not None:
            command = point.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"entry point {point.value} is no command")
            return command
        if cmd_name in COMMANDS:
            ctx.fail(f"'{cmd_name}' is not installed here: pip install '{COMMANDS[cmd_name][0]}'")
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        installed = self._installed()
        rows = [
            (name, summary if name in installed else f"{summary} (pip install '{home}')")
            for name, (home, summary) in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(cls=_Commands)
@click.version_option(version("scorewire-contract"), prog_name="scorewire")
def main() -> None:
    """Train models, prove them, serve them over gRPC and score rows."""
