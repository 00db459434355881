"""The command `scorewire serve`."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import click

from scorewire_contract.service.logs import configure_logs, flush_logs
from scorewire_contract.service.settings import SettingError, options
from scorewire_contract.service.start import CannotStart, StartError
from scorewire_server.allocator import give_back_large_blocks
from scorewire_server.settings import describe, read_settings, silence_grpc


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    # Imported late, as below.
    from scorewire_server.engine.factory import choose_engine  # noqa: PLC0415

    try:
        engine = choose_engine(read_settings({"engine": context.params.get("engine")}).engine)
    except (SettingError, StartError) as error:
        raise CannotStart(str(error)) from None
    click.echo(f"scorewire-server {version('scorewire-server')}, engine {engine.description}")
    context.exit()


@options(describe())
@click.option(
    "--version",
    "show_version",
    is_flag=True,
    expose_value=False,
    callback=_show_version,
    help="Say which version and engine this is, and end.",
)
@click.command(context_settings={"max_content_width": 110})
def serve(**flags: str | None) -> None:
    """Serve bundles over gRPC until SIGTERM or SIGINT."""
    try:
        settings = read_settings(flags)
    except SettingError as error:
        raise CannotStart(str(error)) from None
    configure_logs(settings.log_format, settings.log_level)
    silence_grpc()
    give_back_large_blocks()
    # Imported late, so that --help and wrong settings load no runtime, and after the settings for grpc.
    import uvloop  # noqa: PLC0415

    from scorewire_server.app import run  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except StartError as error:
        raise CannotStart(str(error)) from None
    finally:
        flush_logs()
