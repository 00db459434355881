"""A grpc.aio server that does nothing: the floor under any server of that kind.

It answers every call with the same bytes, which it never looks into. Run as
`python -m tests.bench.floor_server PORT_FILE ANSWER_FILE`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from scorewire_loadtest.transport import PREDICT, PREDICT_STREAM

# Tag of field 2, length-delimited: what follows the correlation id in both directions.
_SECOND_FIELD = b"\x12"


async def _serve(port_file: Path, answer: bytes) -> None:
    async def predict(request: bytes, context: Any) -> bytes:
        return answer

    # An answer longer than 127 bytes has a length of two; this server's are short.
    assert len(answer) < 128
    tail = _SECOND_FIELD + bytes([len(answer)]) + answer

    async def predict_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            # The correlation id: its tag, and a varint that ends with the first byte below 128.
            end = 1
            while request[end] & 0x80:
                end += 1
            yield request[: end + 1] + tail

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service, unary = PREDICT.removeprefix("/").split("/")
    handlers = {
        unary: grpc.unary_unary_rpc_method_handler(predict),
        PREDICT_STREAM.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(predict_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    scratch = port_file.with_suffix(".tmp")
    scratch.write_text(f"127.0.0.1:{port}", encoding="utf-8")
    scratch.rename(port_file)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
