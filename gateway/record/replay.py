"""Makes recorded decisions again: pure, from the record and the salt alone."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from gateway.record.decision import Decision, Exploration
from guards.explore.choices import NOBODY, Choices
from guards.explore.decider import Decider, Question
from guards.explore.decider import Settings as ExploreSettings
from guards.explore.rng import item_hashes, salt_id
from models.bytes_tensor import cut_elements

_settings: TypeAdapter[ExploreSettings] = TypeAdapter(ExploreSettings)


class NotReplayableError(Exception):
    """The record belongs to another salt, or holds no candidates."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is missing."""
        return self.problem


def draw_key(prediction_id: str, decision: int, unit: str, epoch: int) -> str:
    """Name what the numbers of one decision hang on: its sticky unit, or itself."""
    return f"{unit}@{epoch}" if unit else f"{prediction_id}/{decision}"


def replay(decision: Decision, salt: bytes) -> Choices:
    """Decide again what was recorded.

    Why a decision was closed is taken from the record, because it hangs on budgets and switches
    of that moment.

    Raises:
        NotReplayableError: this is not the salt, or nothing was recorded to decide on.
    """
    drawn = decision.exploration
    if drawn is None or not drawn.settings:
        raise NotReplayableError("the record holds no choice that could be made again")
    if drawn.salt != salt_id(salt):
        raise NotReplayableError(f"the record belongs to salt {drawn.salt}")
    decider = _decider(drawn.settings, salt, f"{decision.model}|{drawn.config}")
    keys = [
        draw_key(decision.prediction_id, at, unit, drawn.epoch)
        for at, unit in enumerate(drawn.units)
    ]
    return decider.decide(question_of(drawn), keys, closed=[why or None for why in drawn.closed])


def is_reproduced(decision: Decision, salt: bytes) -> bool:
    """Tell whether a replay gives the greedy choice, the draw and its propensity, to the bit."""
    drawn = decision.exploration
    assert drawn is not None
    again = replay(decision, salt)
    return (
        tuple(again.greedy.ravel().tolist()) == drawn.greedy
        and tuple(again.proposed.ravel().tolist()) == (drawn.proposed or drawn.served)
        and tuple(again.conditional.ravel().tolist()) == (drawn.p_proposed or drawn.propensity)
        and tuple(why or "" for why in again.reasons) == drawn.closed
    )


def question_of(drawn: Exploration) -> Question:
    """Read what was decided on."""
    shape = (len(drawn.closed), drawn.candidates)
    cells = shape[0] * shape[1]
    wide = len(drawn.scores) == 8 * cells
    hashes = None
    if drawn.ids:
        hashes = item_hashes(ids_of(drawn).reshape(cells)).reshape(shape)
    eligible = None
    if drawn.eligible:
        eligible = np.frombuffer(drawn.eligible, np.bool_).reshape(shape)
    extra = None
    if drawn.extra:
        extra = np.frombuffer(drawn.extra, "<f8").reshape(shape[0], -1)
    return Question(
        np.frombuffer(drawn.scores, "<f8" if wide else "<f4").reshape(shape),
        hashes,
        eligible,
        extra,
    )


def ids_of(drawn: Exploration) -> NDArray[Any]:
    """Read the ids of the candidates, (d, n); their columns if they have no other."""
    shape = (len(drawn.closed), drawn.candidates)
    if not drawn.ids:
        return np.tile(np.arange(drawn.candidates), (shape[0], 1))
    if drawn.ids_are_text:
        return cut_elements(drawn.ids, shape)
    return np.frombuffer(drawn.ids, "<i8").reshape(shape)


def served_ids(drawn: Exploration) -> list[list[Any]]:
    """Name what was served, slot by slot, for each decision."""
    ids = ids_of(drawn)
    served = np.array(drawn.served, np.int64).reshape(len(drawn.closed), -1)
    return [
        [ids[row, place] for place in slots if place != NOBODY]
        for row, slots in enumerate(served.tolist())
    ]


@lru_cache(maxsize=64)
def _decider(settings: str, salt: bytes, domain: str) -> Decider:
    return Decider(_settings.validate_json(settings), salt, domain=domain)
