"""The history before a cutoff: customers, their lines and their purchases.

The order of a customer's rows depends on the content of the rows alone, not on the
order of the table or on other customers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scorewire_training.repurchase.grouping import Groups

RFM = ("recency_days", "frequency", "monetary")
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class History:
    """The customers, lines and purchases before the cutoff.

    Attributes:
        cutoff: every row is earlier.
        customers: the keys of the customers, ascending.
        lines: the lines by customer and time. `customer` is a position in
            `customers`, `invoice` and `product` are numbers, `product` is -1 where
            missing. `product`, `quantity` and `country` exist where the table has
            them.
        purchases: a customer's lines of one invoice, by customer and time:
            `customer`, `time` and `age_days` at the cutoff, both of the first line,
            and `amount`.
    """

    cutoff: pd.Timestamp
    customers: pd.Index[str]
    lines: pd.DataFrame
    purchases: pd.DataFrame

    def measure_rfm(self, cutoff: pd.Timestamp) -> pd.DataFrame:
        """RFM at this cutoff or an earlier one; the index is the position of each customer."""
        purchases = self.purchases[self.purchases["time"] < cutoff]
        customers, codes = np.unique(purchases["customer"].to_numpy(), return_inverse=True)
        groups = Groups(codes, len(customers))
        since = (cutoff - purchases["time"]).dt.total_seconds().to_numpy() / _SECONDS_PER_DAY
        values = (groups.last(since), groups.count(), groups.sum(purchases["amount"].to_numpy()))
        return pd.DataFrame(dict(zip(RFM, values, strict=True)), index=customers)

    def group_lines(self) -> Groups:
        """The lines grouped by customer."""
        return Groups(self.lines["customer"].to_numpy(), len(self.customers))

    def group_purchases(self) -> Groups:
        """The purchases grouped by customer."""
        return Groups(self.purchases["customer"].to_numpy(), len(self.customers))


def read_history(lines: pd.DataFrame, cutoff: pd.Timestamp) -> History:
    """Sort and group the lines before the cutoff.

    Args:
        lines: clean lines (`repurchase.data`), with all lines of each customer.
        cutoff: lines from it on are dropped.
    """
    lines = lines[lines["time"] < cutoff]
    customer, customers = pd.factorize(lines["customer"].to_numpy(dtype=object), sort=True)
    coded = pd.DataFrame({"customer": customer, "time": lines["time"].array, "amount": lines["amount"].array})
    coded["invoice"] = pd.factorize(lines["invoice"])[0]
    if "product" in lines.columns:
        coded["product"] = pd.factorize(lines["product"])[0]
    keys = [coded["amount"], coded["time"], coded["customer"]]
    if "quantity" in lines.columns:
        coded["quantity"] = lines["quantity"].array
        keys.insert(0, coded["quantity"])
    if "country" in lines.columns:
        codes, countries = pd.factorize(lines["country"].to_numpy(dtype=object), sort=True)
        coded["country"] = np.array([*countries, None], dtype=object)[codes]
        keys.insert(0, pd.Series(codes))
    # Lines that still tie have equal summands.
    coded = coded.take(np.lexsort(keys)).reset_index(drop=True)
    return History(
        cutoff, pd.Index(customers, name="customer", dtype=object), coded, _build_purchases(coded, cutoff)
    )


def _build_purchases(lines: pd.DataFrame, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The lines grouped by customer and invoice."""
    customer = lines["customer"].to_numpy()
    invoice = lines["invoice"].to_numpy()
    pair = customer * (invoice.max(initial=0) + 1) + invoice
    # Purchases are in the order of their first lines.
    purchase, pairs = pd.factorize(pair)
    first = ~pd.Series(pair).duplicated().to_numpy()
    purchases = lines.loc[first, ["customer", "time"]].reset_index(drop=True)
    purchases["amount"] = Groups(purchase, len(pairs)).sum(lines["amount"].to_numpy())
    purchases["age_days"] = (cutoff - purchases["time"]).dt.total_seconds() / _SECONDS_PER_DAY
    order = np.lexsort((purchases["amount"], purchases["time"], purchases["customer"]))
    return purchases.take(order).reset_index(drop=True)
