"""A synthetic shop whose customers buy at their own rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

FIRST_DAY = pd.Timestamp("2020-01-01")
LAST_DAY = pd.Timestamp("2020-12-31")


def make_lines(customer_count: int = 220, *, seed: int = 7) -> pd.DataFrame:
    """Lines with customer, time, amount, invoice, product, quantity and country, in no order."""
    rng = np.random.default_rng(seed)
    rows = []
    days = (LAST_DAY - FIRST_DAY).days
    for customer in range(customer_count):
        rate = rng.gamma(1.2, 1 / 60)
        begin = rng.integers(0, 60)
        visits = begin + np.concatenate([[0.0], np.cumsum(rng.exponential(1 / rate, 200))])
        for number, day in enumerate(visits[visits < days]):
            rows.extend(
                {
                    "customer": f"{customer:05d}",
                    "time": FIRST_DAY + pd.Timedelta(days=float(day)).round("s"),
                    "amount": round(float(rng.gamma(2, 15)) + 0.01, 2),
                    "invoice": f"{customer}-{number}",
                    "product": f"P{rng.integers(0, 40)}-{line}",
                    "quantity": float(rng.integers(1, 6)),
                    "country": ("France", "germany", "Peru")[customer % 3],
                }
                for line in range(rng.integers(1, 4))
            )
    # A customer buys at each end, so that the first and the last day are known.
    rows += [{**rows[0], "time": day, "invoice": f"end-{day.date()}"} for day in (FIRST_DAY, LAST_DAY)]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)
