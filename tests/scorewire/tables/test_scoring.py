from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import aclosing
from typing import IO, Any

import pytest

from scorewire import AsyncClient, Client
from scorewire.tables import FileError, TableReader, added_columns, read_csv, score_table, score_table_async
from scorewire.testing import FakeServer


def table(*lines: str) -> TableReader:
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    file.write("\n".join(["id,country,age", *lines]).encode())
    file.seek(0)
    return read_csv(file, "it")


ROWS = [f"{i},pe,{'many' if i % 7 == 3 else i % 90}" for i in range(500)]


async def scored_async(server: FakeServer, source: TableReader, **options: Any) -> list[dict[str, list[Any]]]:
    found = []
    async with AsyncClient(server.address) as client:
        model = await client.model("churn")
        added = list(added_columns(source, model, ids=False))
        async with aclosing(score_table_async(client, model, source, 16, added, **options)) as scored:
            async for chunks in scored:
                found += [{"id": chunk.values("id"), **columns} for chunk, columns in chunks]
    return found


def test_the_async_scoring_gives_what_the_other_gives(server: FakeServer) -> None:
    with table(*ROWS) as source, Client(server.address) as client:
        model = client.model("churn")
        added = list(added_columns(source, model, ids=False))
        wanted = [
            {"id": chunk.values("id"), **columns}
            for chunk, columns in score_table(client, model, source, 16, added)
        ]
    with table(*ROWS) as source:
        assert asyncio.run(scored_async(server, source)) == wanted
    assert sum(len(each["id"]) for each in wanted) == 500


def test_an_async_scoring_of_rows_that_are_never_sent(server: FakeServer) -> None:
    with table(*["1,pe,many"] * 2000) as source:
        found = asyncio.run(scored_async(server, source))
    assert sum(len(each["id"]) for each in found) == 2000
    assert {message for each in found for message in each["error"]} == {
        "age: takes a number, not the text 'many'"
    }


def test_the_error_of_a_file_ends_an_async_scoring(server: FakeServer) -> None:
    with table(*ROWS, "1,2") as source, pytest.raises(FileError, match="line 502: 2 values for 3 columns"):
        asyncio.run(scored_async(server, source))


def test_a_cancelled_scoring_no_longer_reads(server: FakeServer) -> None:
    reading, goes_on = threading.Event(), threading.Event()
    running = 0

    class Slow(TableReader):
        names = ["id", "country", "age"]  # noqa: RUF012 - as in the class it stands for

        def chunks(self, rows: int) -> Any:
            nonlocal running
            with table(*ROWS) as source:
                for chunk in source.chunks(rows):
                    running += 1
                    reading.set()
                    goes_on.wait()
                    running -= 1
                    yield chunk

        def arrow_type(self, name: str) -> Any:
            raise NotImplementedError

        def close(self) -> None:
            assert not running

    async def talk() -> None:
        task = asyncio.create_task(scored_async(server, source))
        await asyncio.to_thread(reading.wait)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, goes_on.set)
        await asyncio.gather(task, return_exceptions=True)
        source.close()
        assert task.cancelled()

    source = Slow()
    asyncio.run(talk())
