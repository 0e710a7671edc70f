"""Fraud: the generator does what its table says, and the model knows only what came before."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.bundle import Bundle
from models.examples.fraud import Fraud, build_fraud
from models.examples.transactions import (
    CATEGORIES,
    DAY_S,
    FEATURES,
    FRAUD_SHARE,
    HABITS,
    LABEL_DELAY_DAYS,
    Regime,
    Transactions,
    draw_transactions,
)
from models.opening import open_bundle
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.signing import SigningKey, TrustedKeys

REGIMES: tuple[Regime, ...] = ("before", "after")


@pytest.fixture(scope="module")
def fraud(key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Fraud:
    return build_fraud(tmp_path_factory.mktemp("fraud"), key)


def column(transactions: Transactions, name: str) -> np.ndarray:
    return np.asarray(transactions.rows[:, FEATURES.index(name)])


def auroc(bundle: Bundle, transactions: Transactions) -> float:
    outputs = open_runtime(bundle).predict({"transaction": transactions.rows})
    return float(roc_auc_score(transactions.is_fraud, outputs["probabilities"][:, 1]))


@pytest.mark.parametrize("regime", REGIMES)
def test_transactions_follow_the_habits_of_their_regime(regime: Regime) -> None:
    drawn = draw_transactions(40_000, np.random.default_rng(1), regime=regime)
    ordinary, habits = drawn.is_fraud == 0, HABITS[regime]

    assert drawn.is_fraud.mean() == pytest.approx(FRAUD_SHARE, abs=0.003)
    assert column(drawn, "is_online")[ordinary].mean() == pytest.approx(habits.online, abs=0.01)
    assert column(drawn, "is_online")[~ordinary].mean() == pytest.approx(
        habits.fraud_online, abs=0.06
    )
    shares = np.bincount(column(drawn, "category").astype(int), minlength=len(CATEGORIES)) / 40_000
    np.testing.assert_allclose(shares, habits.categories, atol=0.01)
    assert np.median(column(drawn, "amount")[~ordinary]) == pytest.approx(
        habits.fraud_amount, rel=0.15
    )


def test_transactions_are_in_order_and_their_labels_come_weeks_later() -> None:
    drawn = draw_transactions(20_000, np.random.default_rng(2), regime="before", from_s=DAY_S)
    delay_days = (drawn.labelled_s - drawn.at_s) / DAY_S

    assert drawn.rows.dtype == np.float32
    assert drawn.at_s[0] > DAY_S
    assert np.all(np.diff(drawn.at_s) >= 0)
    assert delay_days.min() > 0
    assert np.median(delay_days) == pytest.approx(LABEL_DELAY_DAYS, rel=0.03)


def test_the_same_seed_draws_the_same_transactions() -> None:
    first, second = (
        draw_transactions(50, np.random.default_rng(3), regime="after") for _ in range(2)
    )

    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.labelled_s, second.labelled_s)


def test_fraud_opens_reproduces_and_names_its_features(fraud: Fraud, trusted: TrustedKeys) -> None:
    assert open_bundle(fraud.bundle.path, trusted, trust_code=True) == fraud.bundle
    check_golden(fraud.bundle, open_runtime(fraud.bundle))
    assert tuple(f.name for f in fraud.bundle.manifest.guards.schema_.features) == FEATURES


def test_the_model_finds_the_fraud_it_knows_and_misses_that_of_the_pandemic(fraud: Fraud) -> None:
    rng = np.random.default_rng(4)
    before, after = (
        auroc(fraud.bundle, draw_transactions(20_000, rng, regime=regime)) for regime in REGIMES
    )

    assert before > 0.95
    assert after < 0.8
