"""The `scorewire` command, a group whose subcommands come from the other distributions.

A distribution registers its subcommands as entry points in the group
`scorewire.commands`. The table here has their summaries, so that `--help` imports
none of them.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version

import click

_TRAINING = "scorewire-training[xgboost-cpu]"
# Subcommand: what to install for it, and its summary.
COMMANDS = {
    "train": (_TRAINING, "Train a model on your data and export it as a bundle."),
    "export": (_TRAINING, "Export a saved XGBoost or LightGBM model, or an ONNX file."),
    "verify": (_TRAINING, "Check a bundle and score its golden rows."),
    "serve": ("scorewire-server", "Serve bundles over gRPC."),
    "keys": ("scorewire-server", "Make, list and remove the API keys of callers."),
    "predict": ("scorewire[pandas]", "Score a CSV or Parquet file through a server."),
    "proto": ("scorewire", "Print the protobuf schema of a model's typed service."),
    "models": ("scorewire[models]", "Show which versions answer calls, change it, and compare two versions."),
    "records": ("scorewire-records", "Keep the records of predictions, and ask about them."),
    "gateway": ("scorewire-gateway", "Serve HTTP/JSON and a web console in front of a server."),
    "load": ("scorewire-loadtest", "Put load on a server and report its latency."),
}


class _Commands(click.Group):
    """A group that imports a subcommand only when the subcommand is called."""

    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group="scorewire.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._installed().get(cmd_name)
        if point is not None:
            command = point.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"entry point {point.value} is not a command")
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
    """Train models, verify their bundles, serve them over gRPC and predict rows."""
