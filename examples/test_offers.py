"""Tests a program that calls Scorewire, without a model and without a network.

python -m pytest examples/test_offers.py
"""

from collections.abc import Iterator

import pytest

from scorewire import Client, Code, ScorewireError
from scorewire.testing import FakeModel, FakeServer


def offer(client: Client, customer: dict[str, object]) -> str:
    """The program under test: who is likely to leave gets a discount."""
    try:
        score = client.predict("churn", customer, timeout=0.5).score
    except ScorewireError:
        return "none"  # no score is no reason to lose the sale
    return "discount" if score > 0.5 else "none"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server whose model is a Python function."""
    model = FakeModel(
        name="churn",
        features={"age": float, "country": str, "plan": str},
        score=lambda row: 0.9 if row["plan"] == "free" else 0.1,
    )
    with FakeServer(model) as fake:
        yield fake


@pytest.mark.parametrize(("plan", "wanted"), [("free", "discount"), ("pro", "none")])
def test_who_is_likely_to_leave_gets_a_discount(server: FakeServer, plan: str, wanted: str) -> None:
    with Client(server.address) as client:
        assert offer(client, {"age": 41, "country": "PE", "plan": plan}) == wanted
    (call,) = [call for call in server.calls if call.method == "Predict"]
    assert call.rows[0]["plan"] == plan


def test_an_overloaded_server_costs_no_sale(server: FakeServer) -> None:
    server.fail(Code.RESOURCE_EXHAUSTED)
    with Client(server.address) as client:
        assert offer(client, {"age": 41, "country": "PE", "plan": "free"}) == "none"
