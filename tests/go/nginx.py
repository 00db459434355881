"""Runs nginx in front of two servers, with its own configuration and a Unix socket."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import wait_until

# A server that restarts is tried again at once. A connection takes more calls than the default of 1,000.
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream servers {{
        {servers}
        keepalive 32;
        keepalive_requests 1000000;
    }}
    server {{
        listen unix:{folder}/socket http2;
        keepalive_requests 1000000;
        location / {{ grpc_pass grpc://servers; }}
    }}
}}
"""


@contextmanager
def proxying(folder: Path, addresses: list[str]) -> Iterator[str]:
    """Run nginx in front of servers; gives the address of nginx."""
    folder.mkdir(parents=True)
    servers = "\n        ".join(f"server {address} max_fails=0;" for address in addresses)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, servers=servers), encoding="utf-8")
    log = folder / "error.log"
    process = subprocess.Popen(["nginx", "-c", configuration, "-p", folder, "-e", log])
    try:
        wait_until(lambda: (folder / "socket").exists() or process.poll() is not None, "nginx's socket")
        assert process.poll() is None, f"nginx ended:\n{log.read_text(encoding='utf-8')}"
        yield f"unix:{folder}/socket"
    finally:
        process.terminate()
        process.wait()
