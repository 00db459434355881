"""Scores many rows over one stream with the asyncio client.

    python examples/async_stream.py [HOST:PORT]

The server needs the model of `churn.py`.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from scorewire import AsyncClient


async def customers() -> AsyncIterator[dict[str, object]]:
    """Customers as they arrive, from a queue for instance."""
    for age in range(20, 70):
        yield {"age": age, "country": "PE", "plan": "free" if age % 2 else "pro"}


async def main(address: str) -> None:
    """Print the customers that are likely to leave."""
    async with AsyncClient(address) as client:
        # Closing the stream matters if the loop ends early.
        async with contextlib.aclosing(client.predict_stream("churn", customers())) as predictions:
            leaving = [prediction.score async for prediction in predictions]
        print(f"{sum(score > 0.5 for score in leaving)} of {len(leaving)} customers are likely to leave")

        # Calls that run at the same time share one connection.
        rows = [{"age": age, "country": "DE", "plan": "basic"} for age in (25, 45, 65)]
        scores = await asyncio.gather(*(client.predict("churn", row) for row in rows))
        print("unary:", [f"{each.score:.4f}" for each in scores])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500"))
