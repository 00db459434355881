"""A fake server, and both clients behind one interface, so that each test runs for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from scorewire import AsyncClient, Client
from scorewire.testing import FakeModel, FakeServer
from tests.fake_models import CHURN, SUM

TEXT = FakeModel(name="text", features={"word": str}, score=lambda row: float(len(row["word"] or "")))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(CHURN, SUM, TEXT) as fake:
        yield fake


class Blocking:
    """The blocking client; streams return lists."""

    def __init__(self, address: Any, **settings: Any) -> None:
        self.client = Client(address, **settings)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.predict(*args, **kwargs)

    def predict_stream(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.client.predict_stream(*args, **kwargs))

    def models(self, **kwargs: Any) -> Any:
        return self.client.models(**kwargs)

    def model(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.model(*args, **kwargs)

    def server(self, **kwargs: Any) -> Any:
        return self.client.server(**kwargs)

    def health(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.health(*args, **kwargs)

    def wait_ready(self, *args: Any, **kwargs: Any) -> None:
        self.client.wait_ready(*args, **kwargs)

    def close(self) -> None:
        self.client.close()

    def end(self) -> None:
        """Release the resources of this wrapper."""


class Awaiting:
    """The asyncio client; each call runs to its end in an event loop."""

    def __init__(self, address: Any, **settings: Any) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(address, **settings)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(self.client.predict(*args, **kwargs))

    def predict_stream(self, *args: Any, **kwargs: Any) -> list[Any]:
        results = self.client.predict_stream(*args, **kwargs)

        async def take() -> list[Any]:
            return [result async for result in results]

        return self.runner.run(take())

    def models(self, **kwargs: Any) -> Any:
        return self.runner.run(self.client.models(**kwargs))

    def model(self, *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(self.client.model(*args, **kwargs))

    def server(self, **kwargs: Any) -> Any:
        return self.runner.run(self.client.server(**kwargs))

    def health(self, *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(self.client.health(*args, **kwargs))

    def wait_ready(self, *args: Any, **kwargs: Any) -> None:
        self.runner.run(self.client.wait_ready(*args, **kwargs))

    def close(self) -> None:
        self.runner.run(self.client.close())

    def end(self) -> None:
        self.runner.close()


@pytest.fixture(params=[Blocking, Awaiting], ids=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes clients of one kind, and closes them when the test ends."""
    made: list[Any] = []

    def make(address: Any, **settings: Any) -> Any:
        made.append(request.param(address, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()
        client.end()


@pytest.fixture
def client(connect: Any, server: FakeServer) -> Any:
    return connect(server.address)
