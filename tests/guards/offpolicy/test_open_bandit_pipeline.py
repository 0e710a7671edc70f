"""Rankings evaluated as the Open Bandit Pipeline evaluates them.

`obp_slates.npz` holds 200 rounds of its `SyntheticSlateBanditDataset` (cascade-additive rewards, 10
items, 3 slots, a uniform logger, a softmax of thrice the base reward to judge; seed 12345), with
the values of its own estimators, obp 0.5.7.  It pins an old numpy, so it is no dependency.
"""

from pathlib import Path

import numpy as np
import pytest

from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.slate import SlateData
from guards.quality.offpolicy.slate_estimators import independent, reward_interaction, standard

FIXTURE = np.load(Path(__file__).with_name("obp_slates.npz"), allow_pickle=False)


def steps(cascade: np.ndarray) -> np.ndarray:
    """Turn probabilities of the slots down to each into those of each given the ones above."""
    return np.column_stack([cascade[:, 0], cascade[:, 1:] / cascade[:, :-1]])


DATA = SlateData(
    FIXTURE["rewards"].astype(np.float64),
    steps(FIXTURE["logging_cascade"]),
    np.minimum(steps(FIXTURE["target_cascade"]), 1.0),
    FIXTURE["logging_marginal"],
    FIXTURE["target_marginal"],
)


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("slate_ips", standard(DATA, self_normalised=False)),
        ("sn_slate", standard(DATA)),
        ("independent", independent(DATA, self_normalised=False)),
        ("sn_independent", independent(DATA)),
        ("reward_interaction", reward_interaction(DATA, self_normalised=False)),
        ("sn_reward_interaction", reward_interaction(DATA)),
    ],
)
def test_values_are_those_of_the_pipeline(name: str, estimate: Estimate) -> None:
    assert estimate.value == pytest.approx(float(FIXTURE[f"expected_{name}"]), rel=1e-12)
