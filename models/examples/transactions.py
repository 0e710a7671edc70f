"""A documented generator of card transactions, before and after the pandemic.

Every field is drawn from a stated distribution, so that what changes between the two regimes is
known and a monitor that names another field is wrong.  Amounts are in euros, times in seconds.

What changed with the pandemic, and by how much, is made up, after what is known of the direction:
people bought online instead of in shops, travelled less, spent more on groceries and at other
hours, and fraud moved from stolen cards in shops to stolen numbers online.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

Regime = Literal["before", "after"]

FEATURES = (
    "amount",  # euros
    "hour",  # of the day, local, 0 to 24
    "is_online",
    "is_foreign",
    "category",  # index into CATEGORIES
    "distance_km",  # from the last place where the card was seen; 0 online
    "minutes_since_last",
    "transactions_24h",
    "amount_ratio",  # to what the holder usually spends
    "account_age_days",
)
CATEGORIES = ("groceries", "restaurants", "travel", "electronics", "clothing", "entertainment")
FRAUD_SHARE = 0.02

DAY_S = 86_400.0
LABEL_DELAY_DAYS = 18.0  # median until the holder notices and the bank agrees
LABEL_DELAY_SPREAD = 0.6  # of the logarithm


@dataclass(frozen=True, slots=True)
class Habits:
    """How card holders, and thieves, behave in one regime."""

    online: float  # share of ordinary transactions
    foreign: float
    categories: tuple[float, ...]  # shares
    grocery_amount: float  # median, euros
    evening: float  # share around 19:30, the rest around 13:00
    a_day: float  # transactions
    fraud_online: float  # share of fraud
    fraud_amount: float  # median, euros
    fraud_evening: float
    fraud_haste: float  # how many times as many transactions a day


HABITS: dict[Regime, Habits] = {
    "before": Habits(
        online=0.22,
        foreign=0.08,
        categories=(0.28, 0.24, 0.14, 0.09, 0.14, 0.11),
        grocery_amount=28.0,
        evening=0.45,
        a_day=2.0,
        fraud_online=0.35,
        fraud_amount=190.0,
        fraud_evening=0.8,
        fraud_haste=2.5,
    ),
    "after": Habits(
        online=0.61,
        foreign=0.02,
        categories=(0.44, 0.09, 0.02, 0.16, 0.15, 0.14),
        grocery_amount=52.0,
        evening=0.30,
        a_day=3.2,
        fraud_online=0.94,
        fraud_amount=38.0,
        fraud_evening=0.35,
        fraud_haste=1.4,
    ),
}
AMOUNTS = (None, 32.0, 210.0, 160.0, 60.0, 26.0)  # medians by category, euros; None: by habit


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions in the order in which they happened."""

    rows: Rows  # (n, 10), columns as in FEATURES
    is_fraud: NDArray[np.int64]  # (n,)
    at_s: NDArray[np.float64]  # (n,), since the first day
    labelled_s: NDArray[np.float64]  # (n,), when the bank knows which of them were fraud


def draw_transactions(
    n: int, rng: np.random.Generator, *, regime: Regime, from_s: float = 0.0, per_day: float = 2000
) -> Transactions:
    """Draw ``n`` transactions, ``per_day`` of them a day, beginning at ``from_s``."""
    habits = HABITS[regime]
    is_fraud = rng.random(n) < FRAUD_SHARE
    is_online = rng.random(n) < np.where(is_fraud, habits.fraud_online, habits.online)
    is_foreign = rng.random(n) < np.where(is_fraud, 4 * habits.foreign, habits.foreign)
    category = rng.choice(len(CATEGORIES), n, p=habits.categories)
    usual = np.array([habits.grocery_amount if a is None else a for a in AMOUNTS])[category]
    median = np.where(is_fraud, habits.fraud_amount, usual)
    amount = median * np.exp(rng.normal(0.0, np.where(is_fraud, 0.8, 0.6)))
    a_day = habits.a_day * np.where(is_fraud, habits.fraud_haste, 1.0)
    rows = np.stack(
        [
            amount,
            _hours(n, rng, evening=np.where(is_fraud, habits.fraud_evening, habits.evening)),
            is_online,
            is_foreign,
            category,
            _distances(rng, is_online, is_foreign),
            rng.exponential(1200.0 / a_day),
            rng.poisson(a_day),
            amount / usual * np.exp(rng.normal(0.0, 0.25, n)),
            rng.gamma(2.0, np.where(is_fraud, 350.0, 700.0)),
        ],
        axis=1,
    )
    at_s = from_s + np.cumsum(rng.exponential(DAY_S / per_day, n))
    delay_days = LABEL_DELAY_DAYS * np.exp(rng.normal(0.0, LABEL_DELAY_SPREAD, n))
    return Transactions(
        np.ascontiguousarray(rows, np.float32),
        is_fraud.astype(np.int64),
        at_s,
        at_s + delay_days * DAY_S,
    )


def _hours(n: int, rng: np.random.Generator, *, evening: NDArray[np.float64]) -> Rows:
    """Draw hours around noon and around the evening meal."""
    is_evening = rng.random(n) < evening
    return (np.where(is_evening, 19.5, 13.0) + rng.normal(0.0, 2.5, n)) % 24


def _distances(
    rng: np.random.Generator, is_online: NDArray[np.bool_], is_foreign: NDArray[np.bool_]
) -> Rows:
    """Draw how far the card went: nowhere online, a few kilometres, or abroad."""
    km = np.exp(rng.normal(np.where(is_foreign, 6.5, 1.5), 0.9))
    return np.where(is_online, 0.0, km)
