"""A fake server for tests of programs that use Scorewire: it scores rows with a Python function.

    from scorewire import Client
    from scorewire.testing import FakeModel, FakeServer

    def score(row):
        return 0.9 if row["country"] == "pe" else 0.1

    model = FakeModel(name="churn", features={"age": float, "country": str}, score=score)
    with FakeServer(model) as server, Client(server.address) as client:
        assert client.predict("churn", {"age": 41, "country": "pe"}).score == 0.9

The server speaks scorewire.v1 on a loopback port, so that the program under test
makes the same calls as in production. `FakeServer.fail` makes calls fail.
"""

from __future__ import annotations

from scorewire.testing._model import ExplainRow, FakeModel, RowRefusedError, Score
from scorewire.testing._server import FakeServer, ReceivedCall

__all__ = ["ExplainRow", "FakeModel", "FakeServer", "ReceivedCall", "RowRefusedError", "Score"]
