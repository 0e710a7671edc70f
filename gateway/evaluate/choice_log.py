"""The log of choices: decisions of the evidence, each with what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Engine, Table, select

from gateway.evaluate import tables
from gateway.evaluate.joined import (
    Choice,
    Confirmation,
    Join,
    Joined,
    Reward,
    Served,
    Window,
    join,
)
from gateway.record.decision import Decision, Exploration
from gateway.record.replay import ids_of
from gateway.registry.database import reading
from guards.explore.choices import NOBODY
from models.feedback_spec import FeedbackSpec

NS_PER_S = 10**9
_CHUNK = 500  # predictions of one IN clause


@dataclass(frozen=True, slots=True)
class LoggedChoice:
    """One decision of a request, and what became of it."""

    request: Decision
    drawn: Exploration
    at: int  # which one of the request's
    joined: Joined

    @property
    def slots(self) -> slice:
        """Where its slots are in the lists of the record."""
        return slice(self.at * self.drawn.slots, (self.at + 1) * self.drawn.slots)

    @property
    def served(self) -> NDArray[np.int64]:
        """What was served, by place, (slots,); `NOBODY` fills up."""
        return np.array(self.drawn.served[self.slots], np.int64)

    @property
    def greedy(self) -> NDArray[np.int64]:
        """What the model itself would have served, by place, (slots,)."""
        return np.array(self.drawn.greedy[self.slots], np.int64)

    @property
    def propensities(self) -> NDArray[np.float64]:
        """Of what was served, each slot given those before it, (slots,)."""
        return np.array(self.drawn.propensity[self.slots], np.float64)

    @property
    def is_explored(self) -> bool:
        """Whether something else than the model's own choice was drawn and served."""
        is_other = self.drawn.served[self.slots] != self.drawn.greedy[self.slots]
        return self.drawn.mode == "on" and is_other

    @property
    def component(self) -> str:
        """Which part of the policy drew it."""
        return self.drawn.components[self.at] if self.drawn.components else ""


@dataclass(frozen=True, slots=True)
class ChoiceLog:
    """Decisions in the order of arrival, and the feedback that changed none of them."""

    choices: tuple[LoggedChoice, ...]
    joined: Join


def window_of(spec: FeedbackSpec) -> Window:
    """Tell how long feedback is waited for."""
    return Window(int(spec.window_s * NS_PER_S), int(spec.grace_s * NS_PER_S), spec.default_reward)


def read_log(
    engine: Engine, model: str, requests: Sequence[Decision], *, window: Window, now_ns: int
) -> ChoiceLog:
    """Join the choices of some requests with the feedback that is kept.

    Args:
        engine: Where feedback is.
        model: Of the requests.
        requests: Those without a choice are left out.
        window: Of the model.
        now_ns: Unix.
    """
    chosen = {
        one.prediction_id: one
        for one in requests
        # Records of before there were settings in them cannot be asked about.
        if one.exploration is not None and one.exploration.settings
    }
    rows = [served for one in chosen.values() for served in served_of(one)]
    rewards, confirmations = _events(engine, model, list(chosen))
    joined = join(rows, rewards, confirmations, window=window, now_ns=now_ns)
    choices = []
    for row in joined.rows:
        prediction, at = row.served.key
        drawn = chosen[prediction].exploration
        assert drawn is not None
        choices.append(LoggedChoice(chosen[prediction], drawn, at, row))
    return ChoiceLog(tuple(choices), joined)


def served_of(request: Decision) -> Iterator[Served]:
    """List the decisions of a request as they were answered, by the ids that clients know."""
    drawn = request.exploration
    assert drawn is not None
    ids = None if not drawn.ids else ids_of(drawn)
    slots = max(drawn.slots, 1)
    for at in range(len(drawn.closed)):
        places = [p for p in drawn.served[at * slots : (at + 1) * slots] if p != NOBODY]
        names = places if ids is None else [name_of(ids[at, place]) for place in places]
        yield Served((request.prediction_id, at), request.arrived_ns, tuple(names))


def name_of(candidate: Any) -> Choice:
    """Write an id as it comes in JSON."""
    if isinstance(candidate, bytes):
        return candidate.decode(errors="replace")
    return int(candidate)


def _events(
    engine: Engine, model: str, predictions: Sequence[str]
) -> tuple[list[Reward], list[Confirmation]]:
    rewards, confirmations = [], []
    with reading(engine) as connection:
        for start in range(0, len(predictions), _CHUNK):
            ids = predictions[start : start + _CHUNK]
            for row in connection.execute(_of(tables.rewards, model, ids)):
                key = (row.prediction_id, row.row)
                event = Reward(key, row.slot, row.reward, row.observed_ns, row.received_ns)
                rewards.append(event)
            for row in connection.execute(_of(tables.confirmations, model, ids)):
                key, shown = (row.prediction_id, row.row), tuple(orjson.loads(row.served))
                confirmations.append(Confirmation(key, shown, row.observed_ns, row.received_ns))
    return rewards, confirmations


def _of(table: Table, model: str, predictions: Sequence[str]) -> Any:
    return select(table).where(table.c.model == model, table.c.prediction_id.in_(predictions))
