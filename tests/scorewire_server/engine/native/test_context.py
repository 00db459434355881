"""The context of a call, read from what the extension hands over."""

from __future__ import annotations

from struct import pack
from time import perf_counter_ns

import pytest

pytest.importorskip("scorewire_native")

from scorewire_server.engine.native.context import LazyMetadata, read_context
from scorewire_server.engine.peer import Peer


def _block(*entries: tuple[bytes, bytes]) -> bytes:
    return b"".join(pack("<II", len(name), len(value)) + name + value for name, value in entries)


def test_metadata_is_text_or_bytes_by_its_name() -> None:
    entries = [
        (b"key", b"first"),
        (b"key", b""),
        (b"raw-bin", b"AAE"),
        (b"no-base64-bin", b"\xff"),
        (b"latin", b"\xe9"),
    ]
    context = read_context("/s/m", _block(*entries), ("127.0.0.1:1", b"der"), 5_000_000_000, None)
    assert list(context.metadata) == [
        ("key", "first"),
        ("key", ""),
        ("raw-bin", b"\x00\x01"),
        ("no-base64-bin", b"\xff"),
        ("latin", "é"),
    ]
    assert (context.method, context.peer, context.deadline) == ("/s/m", Peer("127.0.0.1:1", b"der"), None)
    assert perf_counter_ns() - context.received_ns >= 5_000_000_000


def test_metadata_is_a_sequence() -> None:
    metadata = LazyMetadata(_block((b"a", b"1"), (b"b", b"2")))
    assert (len(metadata), metadata[1], metadata[:1]) == (2, ("b", "2"), (("a", "1"),))
    assert len(LazyMetadata(b"")) == 0
