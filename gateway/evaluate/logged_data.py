"""Lays the log of choices out for the estimators of `guards.quality.offpolicy`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.evaluate.choice_log import LoggedChoice
from gateway.evaluate.targets import Likely
from guards.quality.offpolicy.doubly_robust import Predictions
from guards.quality.offpolicy.logged import LoggedData
from guards.quality.offpolicy.reward_model import cross_fit, one_hot
from guards.quality.offpolicy.slate import SlateData

MODELLED_ACTIONS = 64  # columns up to which the reward model has a number for each

Floats = NDArray[np.float64]


def logged_singles(choices: Sequence[LoggedChoice], asked: Sequence[Likely]) -> LoggedData:
    """Lay single choices out for the estimators."""
    return LoggedData(
        np.array([choice.joined.rewards[0] for choice in choices]),
        np.array([choice.propensities[0] for choice in choices]),
        np.array([one.slots[0] for one in asked]),
        _units(choices),
    )


def logged_slates(choices: Sequence[LoggedChoice], asked: Sequence[Likely]) -> SlateData:
    """Lay rankings out for the estimators; slots that nobody filled earn nothing."""
    slots = choices[0].drawn.slots
    rewards = np.zeros((len(choices), slots))
    for row, choice in enumerate(choices):
        rewards[row, : len(choice.joined.rewards)] = choice.joined.rewards
    return SlateData(
        rewards,
        np.array([choice.propensities for choice in choices]),
        np.array([one.slots for one in asked]),
        units=_units(choices),
    )


def predictions_of(
    choices: Sequence[LoggedChoice], asked: Sequence[Likely], data: LoggedData
) -> Predictions:
    """Expect rewards from the model's score, and from the action where actions are few."""
    scores = [scores_of(choice) for choice in choices]
    p = [one.actions for one in asked]
    served = [s[choice.served[0]] for s, choice in zip(scores, choices, strict=True)]
    averaged = [float(a @ s) for a, s in zip(p, scores, strict=True) if a is not None]
    features = [np.array(served)[:, None], np.array(averaged)[:, None]]
    width = {len(one) for one in scores}
    if len(width) == 1 and not choices[0].drawn.ids and max(width) <= MODELLED_ACTIONS:
        actions = one_hot(np.array([choice.served[0] for choice in choices]), max(width))
        features = [
            np.column_stack(pair) for pair in zip(features, (actions, table_of(p)), strict=True)
        ]
    return cross_fit(features[0], features[1], data.rewards, units=data.units)


def scores_of(choice: LoggedChoice) -> Floats:
    """Read the scores of one decision, (n,); those that are no numbers say nothing."""
    drawn = choice.drawn
    wide = len(drawn.scores) == 8 * len(drawn.closed) * drawn.candidates
    scores: Floats = np.frombuffer(drawn.scores, "<f8" if wide else "<f4")
    own: Floats = scores.reshape(len(drawn.closed), -1)[choice.at].astype(np.float64)
    if drawn.kind == "threshold":  # approvals earn what the score says, denials nothing
        own = np.array([0.0, own[0]])
    known: Floats = np.nan_to_num(own, nan=0.0, posinf=0.0, neginf=0.0)
    return known


def _units(choices: Sequence[LoggedChoice]) -> NDArray[np.int64] | None:
    """Number the sticky units; None where every decision is one."""
    names = [choice.drawn.units[choice.at] if choice.drawn.units else "" for choice in choices]
    if len(set(names) - {""}) + names.count("") == len(names):
        return None
    named = [name or f"{n}" for n, name in enumerate(names)]
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


def table_of(rows: Sequence[Floats | None]) -> Floats:
    """Put the distributions of decisions over the same actions under one another, (n, k)."""
    return np.array(rows, np.float64)
