"""The settings of the C library's allocator."""

from __future__ import annotations

import platform

from scorewire_server.allocator import give_back_large_blocks


def test_glibc_takes_what_it_is_told_and_others_are_left_alone() -> None:
    assert give_back_large_blocks() == (platform.libc_ver()[0] == "glibc")
