from __future__ import annotations

import pytest

from scorewire_contract.memory import explain_memory


@pytest.mark.parametrize(
    "said",
    [
        "std::bad_alloc",
        "MemoryError: ",
        "Failed to allocate memory for requested buffer of size 8",
        "[Errno 12] Cannot allocate memory",
    ],
)
def test_a_failure_for_want_of_memory_gets_its_cause_and_an_advice(said: str) -> None:
    assert explain_memory(f"a graph of 3 bytes: {said}", "buy some") == (
        f"memory ran out: a graph of 3 bytes: {said.strip()}; buy some"
    )


def test_the_source_of_onnxruntime_is_left_out() -> None:
    said = (
        "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::"
        "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 8\n"
    )
    assert explain_memory(f"Status Message: {said}", "buy some") == (
        "memory ran out: Status Message: Failed to allocate memory for requested buffer of size 8; buy some"
    )


def test_another_failure_is_told_as_it_is() -> None:
    assert explain_memory("Invalid model", "buy some") == "Invalid model"
