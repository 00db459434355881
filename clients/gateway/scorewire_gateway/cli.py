"""The command `scorewire gateway`."""

from __future__ import annotations

import asyncio

import click

from scorewire_contract.service.logs import configure_logs, flush_logs
from scorewire_contract.service.settings import SettingError, options
from scorewire_contract.service.start import CannotStart, StartError
from scorewire_gateway.settings import describe, read_settings, silence_grpc


@options(describe())
@click.command(context_settings={"max_content_width": 110})
def gateway(**flags: str | None) -> None:
    """Serve HTTP/JSON and a web console in front of a scoring server, until SIGTERM or SIGINT.

    \b
    Examples:
      scorewire gateway --server 127.0.0.1:8500
      curl http://127.0.0.1:8080/models
      curl http://127.0.0.1:8080/models/churn:predict \\
          -H 'Content-Type: application/json' -d '{"row": {"age": 41, "country": "PE"}}'

    \b
    For other machines, with HTTPS, in front of a server that has TLS:
      scorewire gateway --server scores.example:8500 --server-tls on --listen 0.0.0.0:8443 \\
          --tls-cert cert.pem --tls-key key.pem --hosts gateway.example

    The pages /docs and /console in a browser show each model with its features. A setting can also be given
    by its variable, such as SCOREWIRE_GATEWAY_SERVER.
    """  # noqa: D301 - click reads the escape
    try:
        settings = read_settings(flags)
    except SettingError as error:
        raise CannotStart(str(error)) from None
    configure_logs(settings.log_format, settings.log_level)
    silence_grpc()
    # Imported late, so that --help and wrong settings load no web framework, and after the settings for grpc.
    import uvloop  # noqa: PLC0415

    from scorewire_gateway.serving import run  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (SettingError, StartError) as error:
        raise CannotStart(str(error)) from None
    finally:
        flush_logs()
