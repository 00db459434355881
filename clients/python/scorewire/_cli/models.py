"""`scorewire models`: show which versions answer calls, change it, and compare two versions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from scorewire._channels import TLS
from scorewire._cli import console
from scorewire._cli.connection import connected
from scorewire._cli.extras import require_extra
from scorewire._client import Client
from scorewire._credentials import Token
from scorewire._models import RIGHTS, Caller, ModelStatus
from scorewire._statistics import RouteStatistics
from scorewire.options import server_options

_EXAMPLES = """\b
Examples:
  scorewire models list
  scorewire models split churn 1.0.0=90 1.1.0=10
  scorewire models compare churn --seconds 60
  scorewire models rollback churn"""


def _command(group: click.Group, name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Add a command to a group; its function gets a connected client as the first argument."""

    def add(command: Callable[..., None]) -> click.Command:
        @server_options
        @wraps(command)
        def run(*, address: str, tls: TLS | None, token: Token | None, **others: Any) -> None:
            require_extra("models")
            with connected(address, tls=tls, token=token) as client:
                command(client, **others)

        return group.command(name)(run)

    return add


@click.group(epilog=_EXAMPLES)
def models() -> None:
    """Show which versions answer calls, change it, and compare two versions.

    Changes outlive a restart of the server. A server that listens for other
    machines takes them only from those to whom its access file gives the right.
    """


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@_command(models, "list")
@_json
def list_(client: Client, *, as_json: bool) -> None:
    """List the models and the versions that answer.

    A server with an access file lists those to which you have a right, and the
    last line tells who you are.
    """
    from scorewire._cli.rendering import model_table  # noqa: PLC0415 - needs an extra of the SDK

    found = client.models()
    if as_json:
        console.print_json(found)
        return
    caller = client.server().caller
    if found:
        console.make_console().print(model_table(found))
    elif caller is None:
        click.echo("the server has no models; put bundles into its --models folder")
    else:
        click.echo("the server has no models to which you have a right")
    if caller is not None:
        click.echo(_caller_text(caller))


@_command(models, "show")
@click.argument("model")
@click.option("--version", default="", help="Version or alias.  [default: the model's default version]")
@_json
def show(client: Client, *, model: str, version: str, as_json: bool) -> None:
    """Show one model: versions, routing, schema."""
    from scorewire._cli.rendering import status_view, version_view  # noqa: PLC0415 - needs an extra of the SDK

    # A model has no schema while none of its versions serves.
    status = next((each for each in client.models() if each.name == model), None)
    served = client.model(model, version) if status is None or status.default_version or version else None
    if as_json:
        console.print_json(served or status)
        return
    terminal = console.make_console()
    if status is not None:
        terminal.print(status_view(status))
    if served is not None:
        terminal.print(version_view(served))


@_command(models, "load")
@click.argument("model")
@click.argument("version")
def load(client: Client, *, model: str, version: str) -> None:
    """Load a version, even one that the version policy leaves out."""
    with console.spinner(f"loading {model} {version}"):
        client.load_version(model, version)
    click.echo(f"{model} {version} serves")


@_command(models, "unload")
@click.argument("model")
@click.argument("version")
def unload(client: Client, *, model: str, version: str) -> None:
    """Take a version out of service; its files stay."""
    client.unload_version(model, version)
    click.echo(f"{model} {version} takes no more calls")


@_command(models, "alias")
@click.argument("model")
@click.argument("alias")
@click.argument("version", required=False)
@click.option("--delete", is_flag=True, help="Remove the alias.")
def alias(client: Client, *, model: str, alias: str, version: str | None, delete: bool) -> None:
    """Point ALIAS at VERSION, or remove the alias."""
    if delete == (version is not None):
        raise click.UsageError("give the VERSION for the alias, or --delete")
    if version is None:
        client.delete_alias(model, alias)
        click.echo(f"{model} has no alias {alias} any more")
    else:
        client.set_alias(model, alias, version)
        click.echo(f"{model} {alias} is {version}")


@_command(models, "split")
@click.argument("model")
@click.argument("weights", nargs=-1, metavar="[VERSION=WEIGHT]...")
@click.option("--clear", is_flag=True, help="Remove the split: the highest release answers.")
def split(client: Client, *, model: str, weights: tuple[str, ...], clear: bool) -> None:
    """Split calls over several versions by weight.

    Weights look like 1.0.0=90 1.1.0=10 and apply to calls that name no version.
    Calls with the same routing key get the same version.
    """
    if clear == bool(weights):
        raise click.UsageError("give weights like 1.0.0=90 1.1.0=10, or --clear")
    shares = {}
    for each in weights:
        version, _, weight = each.partition("=")
        if not (version and weight.isdecimal()) or version in shares:
            raise click.UsageError(f"{each!r} is not VERSION=WEIGHT, each version once, like 1.0.0=90")
        shares[version] = int(weight)
    click.echo(f"{model}: {_split_text(client.set_split(model, shares))}")


@_command(models, "shadow")
@click.argument("model")
@click.argument("version", required=False)
@click.option(
    "--share",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the calls that are copied.",
)
@click.option("--off", is_flag=True, help="Stop copying calls.")
def shadow(client: Client, *, model: str, version: str | None, share: float, off: bool) -> None:
    """Send copies of calls to VERSION, the shadow.

    Callers never get the shadow's responses; `stats` and `compare` show them.
    """
    if off == (version is not None):
        raise click.UsageError("give the VERSION that gets the copies, or --off")
    client.set_shadow(model, version, share)
    click.echo(
        f"{model}: no calls are copied"
        if off
        else f"{model}: {share:.1%} of its calls are copied to {version}"
    )


@_command(models, "rollback")
@click.argument("model")
def rollback(client: Client, *, model: str) -> None:
    """Undo the last change of the routing.

    A new release that became the default by itself counts as a change. After that
    is undone, newer releases do not answer calls that name no version; run
    `scorewire models split MODEL --clear` to let them.
    """
    with console.spinner(f"rolling {model} back"):
        status = client.roll_back(model)
    routing = status.routing
    parts = [
        _split_text(status),
        *(f"{alias} is {version}" for alias, version in sorted(routing.aliases.items())),
    ]
    if routing.shadow is not None:
        parts.append(f"{routing.shadow.share:.1%} of the calls are copied to {routing.shadow.version}")
    left = "1 more step" if status.rollbacks == 1 else f"{status.rollbacks} more steps"
    click.echo(f"{model}: {', '.join(parts)}; {left} back can be taken")
    if status.pinned_version:
        click.echo(
            f"calls that name no version stay with {status.pinned_version}: newer releases do not answer them"
            f" until you run: scorewire models split {model} --clear"
        )


@_command(models, "stats")
@click.argument("model", default="")
@click.option(
    "--watch", is_flag=True, help="Show a live table until Ctrl-C; rates are those of the last interval."
)
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds between two readings of --watch.",
)
@_json
def stats(client: Client, *, model: str, watch: bool, interval: float, as_json: bool) -> None:
    """Show the statistics of each version by route.

    With the statistics of all models comes the ledger of a server that keeps records.
    """
    from scorewire._cli.rendering import ledger_text, statistics_table  # noqa: PLC0415 - needs an extra of the SDK

    if watch and as_json:
        raise click.UsageError("--watch shows a table; --json prints once")
    now = client.statistics(model)
    if as_json:
        console.print_json(now)
    elif not (watch or now):
        click.echo("no calls were answered yet")
    elif not watch:
        console.make_console().print(statistics_table(now))
        if not model and (ledger := client.record_ledger()) is not None:
            console.make_console().print(ledger_text(ledger))
    else:
        _watch(lambda: client.statistics(model), now, interval)


@_command(models, "compare")
@click.argument("model")
@click.argument("versions", nargs=-1, metavar="[A B]")
@click.option(
    "--seconds",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Compare only the calls of the next SECONDS; 0 compares all since the versions were loaded.",
)
def compare(client: Client, *, model: str, versions: tuple[str, ...], seconds: float) -> None:
    """Compare latency, errors and scores of two versions, with statistical tests.

    Only calls that name no version count. A and B are by default the two versions
    of the split, or the version that answers and its shadow. The first test is
    whether calls were split by the weights: if they were not, the other results
    may mislead.
    """
    from scorewire._cli.rendering import comparison_table  # noqa: PLC0415
    from scorewire.comparison import ComparisonError, compare_versions, counted_since, sides  # noqa: PLC0415

    status = client.model(model).status
    try:
        a, b = sides(status, versions)
        before = client.statistics(model) if seconds else []
        if seconds:
            console.wait(seconds)
        counted = counted_since(before, client.statistics(model))
        if seconds and client.model(model).status.routing != status.routing:
            raise ComparisonError("the routing was changed while calls were counted; compare again")
        comparison = compare_versions(status.routing, counted, a, b)
    except ComparisonError as error:
        raise click.ClickException(str(error)) from error
    console.make_console().print(comparison_table(comparison, whole=not seconds))


def _caller_text(caller: Caller) -> str:
    """Who calls, and which rights it has, as a sentence."""
    models = {right: getattr(caller, right) for right in RIGHTS}
    rights = "; ".join(f"{right} {', '.join(names)}" for right, names in models.items() if names)
    return f"you are {caller.principal}, with the rights: {rights}"


def _split_text(status: ModelStatus) -> str:
    """Which versions answer calls that name no version, as a sentence."""
    split = status.routing.split
    if not split:
        return f"the highest release answers, {status.default_version or 'of which none serves'}"
    total = sum(split.values())
    return ", ".join(f"{version} {weight / total:.1%}" for version, weight in split.items())


def _watch(read: Callable[[], list[RouteStatistics]], before: list[RouteStatistics], interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - needs an extra of the SDK

    from scorewire._cli.rendering import statistics_table  # noqa: PLC0415
    from scorewire.comparison import counted_since  # noqa: PLC0415

    terminal = console.make_console()
    begin = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        live = None
        if terminal.is_terminal:
            live = stack.enter_context(Live(statistics_table(before), console=terminal, auto_refresh=False))
        while True:
            time.sleep(interval)
            now, end = read(), time.monotonic()
            table = statistics_table(now, counted_since(before, now), end - begin)
            before, begin = now, end
            if live is not None:
                live.update(table, refresh=True)
            else:
                terminal.print(table)
