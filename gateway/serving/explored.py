"""What was chosen, as the record has it: all that a replay needs, and no more than fits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.record.decision import Exploration
from gateway.serving.chooser import Chooser, Decided
from guards.explore.choices import Choices
from guards.explore.rng import ALGORITHM
from guards.explore.settings import ThresholdExplore
from models.bytes_tensor import join_elements

P_FIRST_MAX = 256  # probabilities that a record spells out; a replay gives all of them


def exploration_of(decided: Decided | None, chooser: Chooser | None) -> Exploration | None:
    """Write down what was decided for one request; None where its answer is no choice."""
    if decided is None or chooser is None:
        return None
    choices, question, settings = decided.choices, decided.question, chooser.settings
    p_first, p_first_of = _first(choices)
    ids = decided.ids
    is_text = ids is not None and ids.dtype == object
    is_drawn = not choices.is_live
    policy = settings.shape if isinstance(settings, ThresholdExplore) else settings.policy
    return Exploration(
        policy=policy.kind,
        greedy=_flat(choices.greedy),
        served=_flat(choices.served),
        propensity=_flat(choices.propensity),
        closed=tuple(why or "" for why in choices.reasons),
        kind=settings.kind,
        mode=settings.mode,
        slots=choices.greedy.shape[1],
        proposed=_flat(choices.proposed) if is_drawn else (),
        p_proposed=_flat(choices.conditional) if is_drawn else (),
        log_p=_flat(choices.log_p),
        p_greedy=_flat(choices.p_greedy),
        expected_regret=_flat(choices.expected_regret),
        components=choices.components,
        p_first=p_first,
        p_first_of=p_first_of,
        settings=chooser.text,
        config=chooser.config,
        algorithm=ALGORITHM,
        salt=chooser.salt,
        units=decided.units,
        epoch=decided.epoch,
        candidates=question.scores.shape[1],
        ids=b"" if ids is None else _ids(ids),
        ids_are_text=is_text,
        scores=_little(question.scores),
        eligible=b"" if question.eligible is None else question.eligible.tobytes(),
        extra=b"" if question.extra is None else _little(question.extra),
    )


def _flat(array: NDArray[Any]) -> tuple[Any, ...]:
    return tuple(array.ravel().tolist())


def _first(choices: Choices) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Give the first slot's distribution whole, or the largest part of the first decision's."""
    if choices.first.size <= P_FIRST_MAX:
        return _flat(choices.first), ()
    p = choices.first[0]
    if len(p) <= P_FIRST_MAX:
        return _flat(p), tuple(range(len(p)))
    top = np.argpartition(p, len(p) - P_FIRST_MAX)[len(p) - P_FIRST_MAX :]
    return _flat(p[top]), _flat(top)


def _ids(ids: NDArray[Any]) -> bytes:
    return join_elements(ids) if ids.dtype == object else _little(ids)


def _little(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
