from __future__ import annotations

from uuid import UUID

import pytest

from scorewire_contract.records.identity import PredictionId, new_start, split_writer, writer_uuid

START = UUID("019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000")


def test_a_start_is_a_uuid_of_version_7_that_ends_in_zeros() -> None:
    starts = [new_start() for _ in range(100)]
    assert {(each.version, each.int & 0xFFFF) for each in starts} == {(7, 0)}
    assert len(set(starts)) == len(starts)
    assert [each.int >> 80 for each in starts] == sorted(each.int >> 80 for each in starts)


def test_a_writer_has_its_number_in_the_last_two_bytes() -> None:
    writer = writer_uuid(START, 258)
    assert str(writer) == "019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0102"
    assert split_writer(writer) == (START, 258)


@pytest.mark.parametrize(("start", "writer"), [(START, -1), (START, 1 << 16), (UUID(int=1), 0)])
def test_no_writer_has_a_number_that_does_not_fit(start: UUID, writer: int) -> None:
    with pytest.raises(ValueError, match="has no writer"):
        writer_uuid(start, writer)


@pytest.mark.parametrize("each", [PredictionId(START, 0, 0), PredictionId(START, 65535, (1 << 64) - 1)])
def test_the_text_of_a_prediction_id_leads_back_to_it(each: PredictionId) -> None:
    assert PredictionId.parse(str(each)) == each


def test_a_prediction_id_is_the_writer_and_the_sequence_number() -> None:
    assert str(PredictionId(START, 2, 40)) == "019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0002-40"


@pytest.mark.parametrize(
    "text",
    [
        "",
        str(START),
        f"{START}-",
        f"{START}--1",
        f"{START}-01",
        f"{START}-1 ",
        f"{START}-\u0661",
        f"{START}-{1 << 64}",
        f"{START.hex}-1",
        f"{str(START).upper()}-1",
    ],
)
def test_other_texts_are_no_prediction_ids(text: str) -> None:
    with pytest.raises(ValueError, match="no prediction_id"):
        PredictionId.parse(text)
