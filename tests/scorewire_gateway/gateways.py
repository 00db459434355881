"""Gateways for tests: in this process in front of any server, or as a process of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from scorewire_gateway.serving import Gateway
from scorewire_gateway.settings import Settings

from tests.processes import COMMAND, TIMEOUT_SECONDS, ServerProcess, service


@contextmanager
def gateway_thread(server: str, **settings: Any) -> Iterator[httpx.Client]:
    """Run a gateway in a thread of this process; gives a client of it, whose base_url is its address.

    Args:
        server: the address of the scoring server.
        settings: further settings, by name.
    """
    values = {"listen": "127.0.0.1:0", "drain_seconds": 0.0, "grace_seconds": 5.0} | settings
    started: threading.Event = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        gateway = Gateway(Settings(server=server, **values))
        await gateway.start()
        stop = asyncio.Event()
        found.update(gateway=gateway, loop=asyncio.get_running_loop(), stop=stop)
        started.set()
        await stop.wait()
        await gateway.drain()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            found["error"] = error
            started.set()
            raise

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    started.wait(TIMEOUT_SECONDS)
    try:
        if "error" in found:
            raise found["error"]
        scheme = "https" if values.get("tls_cert") else "http"
        with httpx.Client(
            base_url=f"{scheme}://{found['gateway'].address}", timeout=TIMEOUT_SECONDS, trust_env=False
        ) as client:
            yield client
    finally:
        if "stop" in found:
            found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


@contextmanager
def gateway_process(folder: Path, server: str, *flags: str | Path) -> Iterator[ServerProcess]:
    """Run `scorewire gateway` in front of a server; see `tests.processes.service`."""
    with service(folder, COMMAND, "gateway", "--server", server, flags=flags) as gateway:
        yield gateway
