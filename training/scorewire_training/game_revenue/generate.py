"""Synthetic users of a game, the default data of the use case.

Each user has a playing intensity, which the events follow. Advertisements pay a rate
of the country for each event 2, and a few users buy. The rules are made up; no
number here was measured on real users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Country:
    weight: float  # relative share of all users
    rate: float  # dollars for one event 2
    regions: tuple[str, ...]


_COUNTRIES = {
    "us": _Country(18, 0.0060, ("California", "Texas", "Florida", "New York", "Ohio", "Georgia")),
    "in": _Country(16, 0.0006, ("Maharashtra", "Karnataka", "Delhi", "Tamil Nadu", "Gujarat")),
    "br": _Country(11, 0.0011, ("São Paulo", "Rio de Janeiro", "Bahia", "Paraná")),
    "id": _Country(9, 0.0007, ("West Java", "East Java", "Jakarta", "Bali")),
    "de": _Country(7, 0.0042, ("Bavaria", "Berlin", "Hesse", "Saxony", "North Rhine-Westphalia")),
    "gb": _Country(6, 0.0045, ("England", "Scotland", "Wales", "Northern Ireland")),
    "jp": _Country(5, 0.0055, ("Tokyo", "Osaka", "Aichi", "Hokkaido")),
    "tr": _Country(5, 0.0009, ("Istanbul", "Ankara", "Izmir")),
    "pl": _Country(4, 0.0019, ("Masovia", "Silesia", "Lesser Poland")),
    "it": _Country(4, 0.0026, ("Lombardy", "Lazio", "Sicily", "Veneto")),
    "ph": _Country(3, 0.0008, ("Metro Manila", "Cebu", "Davao")),
    "kr": _Country(3, 0.0048, ("Seoul", "Busan", "Gyeonggi-do")),
    "au": _Country(2, 0.0058, ("New South Wales", "Victoria", "Queensland")),
    "se": _Country(1.5, 0.0041, ("Stockholm", "Skåne", "Västra Götaland")),
    "eg": _Country(1.5, 0.0005, ("Cairo", "Giza", "Alexandria")),
    "vn": _Country(1.5, 0.0007, ("Hanoi", "Ho Chi Minh City")),
    "za": _Country(1, 0.0013, ("Gauteng", "Western Cape")),
    "nz": _Country(0.5, 0.0052, ("Auckland", "Wellington")),
    "ae": _Country(0.4, 0.0040, ("Dubai", "Abu Dhabi")),
    "is": _Country(0.1, 0.0044, ("Capital Region",)),
}
_IOS_DEVICES = ("Apple iPhone", "Apple iPad", "Apple iPod")
_ANDROID_BRANDS = ("Samsung", "Xiaomi", "Motorola", "OPPO", "Nokia", "Sony", "Google")
_IOS_VERSIONS = ("17.5", "17.4.1", "16.7", "16.6", "15.8", "12.5")
_ANDROID_VERSIONS = ("14", "13", "12", "11", "10", "9", "8.1.0", "7.0")
_SPELLINGS = {"iOS": ("iOS", "ios", "IOS ", "iOS"), "Android": ("Android", "android", "ANDROID", "Android")}


def generate_users(count: int, *, seed: int) -> pd.DataFrame:
    """Generate synthetic users.

    About 37 % have no revenue; most of the others have cents, and a few have
    thousands of dollars. Platforms are spelt in several ways, and some values are
    missing.

    Args:
        count: the number of users.
        seed: the seed of all random numbers.

    Returns:
        Columns user_id, country, country_region, source, platform, device_family,
        os_version (text, None where missing), event_1, event_2 (whole numbers),
        event_3 (NaN where missing), revenue (dollars).
    """
    rng = np.random.default_rng(seed)
    codes = list(_COUNTRIES)
    weights = np.array([_COUNTRIES[code].weight for code in codes])
    country = rng.choice(np.array(codes, dtype=object), count, p=weights / weights.sum())
    region = np.array([rng.choice(_COUNTRIES[code].regions) for code in country], dtype=object)
    paid_for = rng.random(count) < 0.27
    ios = rng.random(count) < np.where(np.isin(country, ["us", "jp", "gb", "au", "se"]), 0.55, 0.22)

    stays = rng.random(count) < 0.64 - 0.06 * paid_for
    intensity = np.exp(rng.normal(3.1 - 0.3 * paid_for, 1.35, count)) * stays
    event_2 = rng.poisson(intensity)
    event_3 = rng.binomial(event_2, rng.beta(0.5, 8, count)).astype(np.float64)
    buys = rng.random(count) < np.where(stays, 0.012 + 0.01 * ios, 0.0)
    event_1 = rng.poisson(np.where(buys, np.exp(rng.normal(1.2, 1.2, count)), 0.0))

    rate = np.array([_COUNTRIES[code].rate for code in country])
    advertising = event_2 * rate * np.exp(rng.normal(0, 0.25, count)) * np.where(ios, 1.3, 1.0)
    # The sizes of baskets have a heavy tail: one user can outweigh thousands.
    baskets = event_1 * np.exp(rng.normal(1.5, 1.1, count)) * (1 + rng.pareto(1.6, count))
    revenue = np.round(np.minimum(advertising + baskets, 50_000.0), 6)

    return pd.DataFrame(
        {
            "user_id": [f"{number:08x}" for number in rng.permutation(count)],
            "country": country,
            "country_region": _drop(region, 0.03, rng),
            "source": _drop(np.where(paid_for, "Non-Organic", "Organic").astype(object), 0.04, rng),
            "platform": _spell(ios, rng),
            "device_family": _draw_devices(ios, rng),
            "os_version": _draw_versions(ios, rng),
            "event_1": event_1,
            "event_2": event_2,
            "event_3": np.where(rng.random(count) < 0.02, np.nan, event_3),
            "revenue": revenue,
        }
    )


def _drop(texts: NDArray[np.object_], share: float, rng: np.random.Generator) -> NDArray[np.object_]:
    texts = texts.copy()
    texts[rng.random(len(texts)) < share] = None
    return texts


def _spell(ios: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.object_]:
    """Platforms in the spellings of several services."""
    spelling = rng.choice(4, len(ios), p=[0.9, 0.05, 0.02, 0.03])
    return np.array(
        [_SPELLINGS["iOS" if is_ios else "Android"][i] for is_ios, i in zip(ios, spelling, strict=True)],
        dtype=object,
    )


def _draw_devices(ios: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.object_]:
    """A few common families of devices, and a long tail of rare models."""
    apple = rng.choice(np.array(_IOS_DEVICES, dtype=object), len(ios), p=[0.8, 0.18, 0.02])
    brand = rng.choice(np.array(_ANDROID_BRANDS, dtype=object), len(ios))
    model = np.minimum(rng.zipf(1.4, len(ios)), 120)
    android = [
        f"{name} Phone" if number == 1 else f"{name} {name[:2].upper()}-{number:03d}"
        for name, number in zip(brand, model, strict=True)
    ]
    return np.where(ios, apple, np.array(android, dtype=object))


def _draw_versions(ios: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.object_]:
    apple = rng.choice(np.array(_IOS_VERSIONS, dtype=object), len(ios), p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    android = rng.choice(
        np.array(_ANDROID_VERSIONS, dtype=object), len(ios), p=[0.3, 0.22, 0.15, 0.12, 0.1, 0.06, 0.03, 0.02]
    )
    return np.where(ios, apple, android)
