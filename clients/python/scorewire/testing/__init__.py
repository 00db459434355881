"""A server to test one's own programs against: it speaks scorewire.v1 and scores with a function.

    from scorewire import Client
    from scorewire.testing import FakeModel, FakeServer

    def score(row):
        return 0.9 if row["country"] == "pe" else 0.1

    model = FakeModel(name="churn", features={"age": float, "country": str}, score=score)
    with FakeServer(model) as server, Client(server.address) as client:
        assert client.predict("churn", {"age": 41, "country": "pe"}).score == 0.9

It listens on a port of the loopback interface, so that the program under test
uses the wire as it does in production, and can be told to fail.
"""

from __future__ import annotations

from scorewire.testing._model import FakeModel, RowRefusedError, Score
from scorewire.testing._server import FakeServer, ReceivedCall

__all__ = ["FakeModel", "FakeServer", "ReceivedCall", "RowRefusedError", "Score"]
