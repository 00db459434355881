"""The open stream of a `PredictStream` call of the blocking client."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import grpc

from scorewire._metadata import Pairs
from scorewire._stream import StreamWindow
from scorewire._stream_steps import END, FINISH_SECONDS, Open, Receive, Send, check_received, expired
from scorewire_proto.v1 import packed_pb2


class Stream:
    """The open stream of a flow, if it has one.

    A thread of its own reads the responses. Otherwise the client could block on
    sending while the server blocks on sending, too.
    """

    def __init__(self, stub: Callable[[], Any], window: StreamWindow, show: Callable[[], Pairs]) -> None:
        self._stub = stub
        self._window = window
        self._show = show
        self._shown: Pairs = ()
        self._call: Any = None

    def do(self, step: Open | Send | Receive) -> Any:
        match step:
            case Open():
                self.close()
                before, self._shown = self._shown, self._show()
                if step.refused is not None and self._shown == before:
                    raise step.refused
                self._window.opening()
                self._open()
            case Send():
                self._requests.put(step.request)
            case Receive():
                return self._receive(step)
        return None

    def finish(self) -> None:
        """Half-close the stream, and give the server a moment to end it."""
        self._requests.put(None)
        self._reader.join(FINISH_SECONDS)

    def close(self) -> None:
        if self._call is not None:
            self._requests.put(None)
            self._call.cancel()
            self._reader.join()

    def _open(self) -> None:
        self._requests: queue.SimpleQueue[packed_pb2.PackedPredictStreamRequest | None] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = self._stub()(iter(self._requests.get, None), metadata=self._shown)
        self._reader = threading.Thread(
            target=_read,
            args=(self._call, self._window, self._requests, self._responses),
            name="scorewire-stream",
            daemon=True,
        )
        self._reader.start()

    def _receive(self, step: Receive) -> Any:
        try:
            received = self._responses.get(timeout=step.timeout)
        except queue.Empty:
            raise expired(step) from None
        return check_received(received)


def _read(
    call: Any,
    window: StreamWindow,
    requests: queue.SimpleQueue[packed_pb2.PackedPredictStreamRequest | None],
    responses: queue.SimpleQueue[Any],
) -> None:
    """Move the stream's responses to the queue, and last the error that ended it, or END."""
    end: Any = END
    try:
        for response in call:
            if (request := window.arrived()) is not None:
                requests.put(request)
            responses.put(response)
    except grpc.RpcError as error:
        end = error
    window.ended()
    responses.put(end)
