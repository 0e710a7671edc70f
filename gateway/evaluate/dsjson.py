"""Decisions as Vowpal Wabbit's decision service writes them: one JSON object per line.

A single choice is a contextual bandit (``--cb_explore_adf --dsjson``), a ranking a conditional
one (``--ccb_explore_adf --dsjson``).  Costs are negative rewards.  Features are what the record
holds: id and score of each candidate; join your own by ``EventId``, which is the prediction's id
and, behind a slash, the decision's number.

Source: VowpalWabbit, "DSJSON format", and its own samples (``test/train-sets/dsjson_cb.json``,
``ccb_reuse_medium.dsjson``).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.evaluate.choice_log import LoggedChoice, name_of
from gateway.evaluate.targets import Likely, likely
from gateway.record.replay import ids_of, question_of
from guards.explore.choices import NOBODY

Json = dict[str, Any]
NS_PER_S = 10**9


def write_dsjson(choices: Sequence[LoggedChoice]) -> bytes:
    """Write one line per decision."""
    lines = [
        orjson.dumps(_ranking(choice) if choice.drawn.kind == "slate" else _single(choice, own))
        for choice, own in zip(choices, likely(choices), strict=True)
    ]
    return b"".join(line + b"\n" for line in lines)


def _single(choice: LoggedChoice, own: Likely) -> Json:
    """Tell a single choice; actions are numbered from 1 among those that may be served."""
    assert own.actions is not None
    kept, candidates = _candidates(choice)
    served = int(np.flatnonzero(kept == choice.served[0])[0])
    order = [served, *(place for place in range(len(kept)) if place != served)]
    p = own.actions[kept][order].tolist()
    p[0] = float(choice.propensities[0])
    return {
        "_label_cost": -choice.joined.rewards[0],
        "_label_probability": p[0],
        "_label_Action": served + 1,
        "_labelIndex": served,
        **_about(choice),
        "a": [place + 1 for place in order],
        "p": p,
        "c": {"_multi": candidates},
        "VWState": {"m": f"{choice.request.model}/{choice.request.version}"},
    }


def _ranking(choice: LoggedChoice) -> Json:
    """Tell a ranking, one outcome per slot; actions are numbered from 0."""
    kept, candidates = _candidates(choice)
    served = choice.served[choice.served != NOBODY]
    places = [int(np.flatnonzero(kept == one)[0]) for one in served]
    outcomes = [
        {"_label_cost": -reward, "_a": [place], "_p": [p]}
        for reward, place, p in zip(
            choice.joined.rewards, places, choice.propensities.tolist(), strict=False
        )
    ]
    slots = [{"slot": f"{number}"} for number in range(len(places))]
    return {
        **_about(choice),
        "c": {"_multi": candidates, "_slots": slots},
        "_outcomes": outcomes,
        "VWState": {"m": f"{choice.request.model}/{choice.request.version}"},
    }


def _about(choice: LoggedChoice) -> Json:
    at = datetime.fromtimestamp(choice.request.arrived_ns / NS_PER_S, UTC)
    return {
        "Timestamp": at.isoformat().replace("+00:00", "Z"),
        "Version": "1",
        "EventId": f"{choice.request.prediction_id}/{choice.at}",
        "pdrop": 0.0,
    }


def _candidates(choice: LoggedChoice) -> tuple[NDArray[np.int64], list[Json]]:
    """List the candidates that may be served: their places, and what is known of each."""
    drawn = choice.drawn
    question = question_of(drawn).rows(choice.at, choice.at + 1)
    if drawn.kind == "threshold":
        score = float(question.scores[0, 0])
        names = ("deny", "approve")
        return np.arange(2), [{"i": {"id": name, "score": score}} for name in names]
    kept = np.arange(drawn.candidates)
    if question.eligible is not None:
        kept = kept[question.eligible[0]]
    ids, scores = ids_of(drawn)[choice.at], question.scores[0]
    told = [{"i": {"id": str(name_of(ids[at])), "score": float(scores[at])}} for at in kept]
    return kept, told
