"""Each query of each panel finds something in a Prometheus and a PostgreSQL that a called server has fed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import httpx
import psycopg
import pytest

from scorewire import Client
from tests.access_files import Key, bearer, write_access
from tests.bundles import write_sum_bundle
from tests.conformance.wire import Wire, sum_request
from tests.deploy.dashboards import Query, filled_promql, filled_sql, queries
from tests.deploy.programs import COLLECTOR, PROMETHEUS, needs
from tests.deploy.services import Stack, running_stack
from tests.processes import wait_until
from tests.scorewire_records.postgresql.server import binaries
from tests.stack import ask_prometheus

pytestmark = [
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(find_spec("scorewire_native") is None, reason="some metrics are the native engine's"),
    needs(PROMETHEUS, COLLECTOR),
]
MODELS = ["offers-2", "sum"]
_ROWS = 40
SHOP, BATCH, SCRAPE = (Key.make() for _ in range(3))
PRINCIPALS = {
    "shop": {"predict": ["*"], "keys": [SHOP.entry()]},
    "batch": {
        "predict": ["sum"],
        "calls_per_second": 0.01,
        "calls_burst": 4,
        "keys": [BATCH.entry()],
    },
    "prometheus": {"observe": ["*"], "keys": [SCRAPE.entry()]},
}
QUERIES = queries()


@dataclass(frozen=True)
class Fed:
    """A stack whose server was called, and the time in which it was."""

    stack: Stack
    since: datetime

    def prometheus(self, query: Query) -> list[Any]:
        """The samples of a query that are numbers."""
        text = filled_promql(query.text)
        address = f"http://{self.stack.address('prometheus')}/api/v1"
        if query.instant:
            answer = httpx.get(f"{address}/query", params={"query": text}, timeout=30)
        else:
            end = datetime.now(UTC).timestamp()
            times = {"start": self.since.timestamp(), "end": end, "step": 5}
            answer = httpx.get(f"{address}/query_range", params={"query": text, **times}, timeout=30)
        assert answer.status_code == 200, answer.text
        found = answer.json()["data"]["result"]
        samples = [sample for each in found for sample in each.get("values", [each.get("value")])]
        return [value for _, value in samples if not math.isnan(float(value))]

    def records(self, query: Query) -> list[tuple[Any, ...]]:
        """The rows of a statement that have no NULL."""
        until = datetime.now(UTC) + timedelta(minutes=1)
        statement = filled_sql(query.text, MODELS, self.since, until)
        with psycopg.connect(
            host="127.0.0.1",
            port=self.stack.postgres.port,
            dbname="records",
            user="reader",
            password=self.stack.secret("reader"),
        ) as connection:
            rows = connection.execute(statement).fetchall()  # type: ignore[call-overload]
        return [row for row in rows if None not in row]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    """A stack after two bursts of calls, of which Prometheus saw each."""
    models = tmp_path_factory.mktemp("models")
    write_sum_bundle(models)
    write_sum_bundle(models, version="1.1.0", offset=2.0)
    write_sum_bundle(models, model="offers-2")
    since = datetime.now(UTC) - timedelta(minutes=1)
    access = write_access(tmp_path_factory.mktemp("access") / "access.toml", PRINCIPALS)
    with running_stack(models, access=access, scrape_key=SCRAPE.text) as stack:
        prometheus = stack.address("prometheus")
        wait_until(lambda: ask_prometheus(prometheus, "count(scorewire_versions)") == 3, "the versions")
        for burst in (1, 2):
            rows = burst * _call(stack)
            # What was counted after an earlier scrape is a rate.
            wait_until(
                lambda rows=rows: ask_prometheus(prometheus, "sum(scorewire_rows_total)") >= rows,  # type: ignore[misc]
                "the rows in Prometheus",
            )
        stored = 'sum(scorewire_record_rows_held{state="stored"})'
        wait_until(lambda: ask_prometheus(prometheus, stored) >= rows, "the rows in PostgreSQL")
        yield Fed(stack, since)


def _call(stack: Stack) -> int:
    """Make calls of each kind; returns how many rows were in those that were answered."""
    # x0 must not be missing: each tenth row gets an error.
    rows = [{"x0": None if i % 10 == 0 else float(i), "x1": 2.0, "country": "de"} for i in range(_ROWS)]
    _call_without_success(stack)
    with Client(stack.address("server"), api_key=SHOP.text) as client:
        for version in ("1.0.0", "1.1.0"):
            client.predict("sum", rows, version=version)
        client.predict("sum", rows)
        client.predict("offers-2", rows)
        assert len(list(client.predict_stream("offers-2", rows))) == _ROWS
    wire = Wire(stack.address("server"))
    with wire.channel:
        # The client would find out by itself.
        unknown = wire.predict_failure(sum_request(version="9.9.9"), metadata=SHOP.metadata)
        assert unknown.reason == "VERSION_NOT_FOUND"
    good = [row for row in rows if row["x0"] is not None]
    url = f"http://{stack.address('gateway')}/models/sum:predict"
    for _ in range(3):
        answer = httpx.post(url, json={"rows": good}, headers=dict(SHOP.metadata), timeout=30)
        assert answer.status_code == 200, answer.text
    return 5 * _ROWS + 3 * len(good)


def _call_without_success(stack: Stack) -> None:
    """Make calls that are refused: for their credentials, for a right and for a limit."""
    wire = Wire(stack.address("server"))
    with wire.channel:
        for metadata in ((), bearer("no-such-key")):
            assert wire.predict_failure(sum_request(), metadata=metadata).reason == "UNAUTHENTICATED"
        request = sum_request(model="offers-2")
        reasons = {wire.predict_failure(request, metadata=BATCH.metadata).reason for _ in range(6)}
        assert "CALLER_LIMIT" in reasons


@pytest.mark.parametrize("query", QUERIES, ids=[query.where for query in QUERIES])
def test_a_query_finds_something(fed: Fed, query: Query) -> None:
    if query.is_sql:
        assert fed.records(query)
    else:
        # A rule may not have been evaluated since the calls.
        wait_until(lambda: bool(fed.prometheus(query)), query.text)


def test_what_the_panels_of_the_business_add_up_to(fed: Fed) -> None:
    (scored,) = [query for query in QUERIES if query.where == "business: Rows scored A"]
    (mean,) = [query for query in QUERIES if query.where == "business: Mean score A"]
    bands = [query for query in QUERIES if query.where == "business: Rows by band of the score A"]
    good = [i for i in range(_ROWS) if i % 10]
    # Twice: three calls and three requests of `sum`, of which 1.1.0 adds 2 in all but one; two of `offers-2`.
    assert fed.records(scored) == [(2 * 8 * len(good),)]
    base = sum(i + 3.0 for i in good) / len(good)
    assert fed.records(mean)[0][0] == pytest.approx(base + 2.0 * 5 / 8)
    assert sum(row[1] for row in fed.records(bands[0])) == 2 * 8 * len(good)
