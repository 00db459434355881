"""Any number of synthetic transactions, written in chunks so that memory stays small.

Each customer has a rate, a first and a last day. Each product has a price, and products
with lower numbers are bought more often. Some lines have no customer, and some
purchases are cancelled later. No number here was measured on real customers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

_FIRST_DAY = np.datetime64("2022-01-01", "us")
_DAYS = 730
_CHUNK_LINES = 1_000_000
_LINES_PER_CUSTOMER = 25
_MEAN_BASKET = 3
_PRODUCTS = 4_000
_COUNTRIES = ("France", "Germany", "Peru", "Poland", "Spain", "Kenya")
_ANONYMOUS_SHARE = 0.01
_CANCELLED_SHARE = 0.01
_SCHEMA = pa.schema(
    [
        ("customer", pa.string()),
        ("invoice", pa.string()),
        ("time", pa.timestamp("us")),
        ("product", pa.string()),
        ("quantity", pa.int32()),
        ("unit_price", pa.float64()),
        ("country", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class _World:
    seed: int
    reach: NDArray[np.float64]  # ascending to 1: a draw selects the first customer that reaches it
    first_day: NDArray[np.float32]
    days: NDArray[np.float32]
    prices: NDArray[np.float64]


def write_transactions(
    path: Path,
    count: int,
    *,
    seed: int,
    customers: int | None = None,
    chunk_lines: int = _CHUNK_LINES,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a Parquet file of synthetic lines in no order; the same arguments give the same lines.

    Args:
        path: the file, which is overwritten.
        count: the number of lines.
        seed: the seed of all random numbers.
        customers: the number of customers; None is one for every 25 lines.
        chunk_lines: the lines in memory at a time, beside 16 bytes for each customer.
        progress: called with the number of lines written, after each chunk.
    """
    world = _draw_world(max(1, count // _LINES_PER_CUSTOMER) if customers is None else customers, seed)
    with parquet.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for number, begin in enumerate(range(0, count, chunk_lines)):
            lines = min(chunk_lines, count - begin)
            writer.write_batch(_draw_chunk(world, number, begin, lines))
            if progress is not None:
                progress(begin + lines)


def _draw_world(customers: int, seed: int) -> _World:
    rng = np.random.default_rng(seed)
    first_day = rng.uniform(0, _DAYS * 0.9, customers)
    days = np.minimum(rng.exponential(_DAYS / 2, customers), _DAYS - first_day)
    # A customer's purchases are proportional to rate times days.
    weight = np.cumsum(rng.gamma(0.8, 1, customers) * days + 1e-9)
    return _World(
        seed=seed,
        reach=weight / weight[-1],
        first_day=first_day.astype(np.float32),
        days=days.astype(np.float32),
        prices=np.round(rng.lognormal(1.2, 0.9, _PRODUCTS) + 0.01, 2),
    )


def _draw_chunk(world: _World, number: int, begin: int, lines: int) -> pa.RecordBatch:
    rng = np.random.default_rng([world.seed, number])
    baskets = rng.geometric(1 / _MEAN_BASKET, lines)
    # As many purchases as fit into the lines; the last one may be incomplete.
    purchase = np.repeat(np.arange(lines), baskets)[:lines]
    purchases = int(purchase[-1]) + 1
    buyer = np.searchsorted(world.reach, rng.random(purchases), side="right").clip(max=len(world.reach) - 1)
    day = world.first_day[buyer] + rng.random(purchases) * world.days[buyer]
    seconds = (day.astype(np.float64) * 86_400).astype(np.int64)
    anonymous = rng.random(purchases) < _ANONYMOUS_SHARE
    cancelled = rng.random(purchases) < _CANCELLED_SHARE
    product = (rng.random(lines) ** 2 * _PRODUCTS).astype(np.int64)
    quantity = rng.geometric(0.4, lines).astype(np.int32)
    names = pa.array(buyer, mask=anonymous).cast(pa.string())
    invoices = pa.array(np.arange(purchases) + begin).cast(pa.string())
    marks = pa.array(np.where(cancelled, "C", ""), pa.string())
    return pa.RecordBatch.from_arrays(
        [
            names.take(pa.array(purchase)),
            pc.binary_join_element_wise(marks, invoices, "").take(pa.array(purchase)),
            pa.array((_FIRST_DAY + seconds.astype("timedelta64[s]"))[purchase]),
            pc.binary_join_element_wise("P", pa.array(product).cast(pa.string()), ""),
            pa.array(np.where(cancelled[purchase], -quantity, quantity)),
            pa.array(world.prices[product]),
            pa.array(_COUNTRIES).take(pa.array(buyer[purchase] % len(_COUNTRIES))),
        ],
        schema=_SCHEMA,
    )
