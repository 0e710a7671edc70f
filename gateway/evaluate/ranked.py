"""What became of rankings: how far up stood what was rewarded."""

from collections.abc import Sequence

import numpy as np

from gateway.evaluate.choice_log import LoggedChoice
from guards.quality.ranked_sums import RankedSums


def count_rankings(choices: Sequence[LoggedChoice], version: str) -> RankedSums:
    """Count the rankings that ``version`` served, by the rewards of their slots.

    As they were shown, exploration included; a negative reward is no relevance.
    """
    rewards = [
        choice.joined.rewards
        for choice in choices
        if choice.request.version == version and choice.drawn.kind == "slate"
    ]
    slots = max(map(len, rewards), default=0)
    if not slots:
        return RankedSums(version)
    relevance = np.zeros((len(rewards), slots))
    for row, told in enumerate(rewards):
        relevance[row, : len(told)] = np.maximum(told, 0.0)
    return RankedSums.count(version, relevance)
