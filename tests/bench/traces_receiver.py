"""Takes OTLP requests and throws them away: `python -m tests.bench.traces_receiver` prints its HOST:PORT."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


class Receiver(grpc.GenericRpcHandler):
    """Answers every call with an empty message, which means that all spans were taken."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(lambda _, __: b"")


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Receiver(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
