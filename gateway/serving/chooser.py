"""Step 8: where the model's answer is a choice, choose what is served.  Never raises.

`questions` makes questions of tensors, `guards.explore` decides them.  Whatever fails serves the
greedy answer, with the reason on record.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.record.replay import draw_key
from gateway.serving.questions import Arrays, Asked, Gates, Part, Reader, joined
from gateway.serving.spending import Spending
from guards.explore.choices import Choices
from guards.explore.decider import Decider, Question
from guards.explore.rng import keyed_digest, salt_id
from guards.explore.settings import SingleExplore, SlateExplore, ThresholdExplore
from models.manifest import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """What was chosen for one request, and on what grounds."""

    choices: Choices
    question: Question
    ids: NDArray[Any] | None  # (d, n); None: columns
    units: tuple[str, ...]  # (d,), "" is the prediction itself
    epoch: int
    is_single: bool  # one slot, and so one value per decision


class Chooser:
    """Chooses for one version.  Only what it spent ever changes."""

    def __init__(
        self,
        manifest: Manifest,
        salt: bytes,
        *,
        replicas: int = 1,
        wall_s: Callable[[], float] = time.time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        explore = manifest.explore
        assert isinstance(explore, SingleExplore | SlateExplore | ThresholdExplore)
        self.settings = explore
        self.text = explore.model_dump_json()  # with every default written out
        self.config = blake2b(self.text.encode(), digest_size=8).hexdigest()
        self.salt = salt_id(salt)
        self._key = salt
        self._decider = Decider(explore, salt, domain=f"{manifest.name}|{self.config}")
        self._reader = Reader(explore, manifest.signature)
        self.are_rows_candidates = self._reader.are_rows_candidates
        self._wall_s = wall_s
        self._spending = Spending(explore.budget, explore.unit_cap, replicas=replicas, now_s=now_s)

    def decisions(self, rows: int) -> int:
        """Say how many decisions a request of so many rows asks for."""
        return 1 if self.are_rows_candidates else rows

    def part(
        self,
        prediction_id: str,
        asked: Asked,
        inputs: Arrays,
        outputs: Arrays,
        *,
        guarded: NDArray[np.bool_] | None,
        closed: str | None,
    ) -> Part | None:
        """Read what there is to choose from; None where nothing may be served.

        Args:
            prediction_id: Of the request.
            asked: Beside the tensors.
            inputs: Of the request.
            outputs: Of the model, for its rows.
            guarded: Rows that a guard did not simply allow; None: all were.
            closed: Why nothing is explored at all.
        """
        question, ids = self._reader.question(inputs, outputs)
        usable = self._decider.usable(question)
        if not usable.any(axis=1).all():
            return None
        gates: Gates = [closed] * len(question.scores)
        if closed is None:
            gates = self._reader.gates(asked, inputs, question, guarded)
        return Part(prediction_id, asked, question, ids, inputs, gates, usable)

    def choose(self, parts: Sequence[Part]) -> list[Decided]:
        """Decide for several requests, as one array program where the candidates are columns."""
        try:
            return self._choose(parts)
        except Exception as error:  # noqa: BLE001  a fault of exploring must not fail the request
            log.error("exploring failed, the greedy choice is served: %s", type(error).__name__)
        # One by one: only those for whom it fails lose their draw.
        return [self._safely(part) for part in parts]

    def greedily(
        self, prediction_id: str, asked: Asked, inputs: Arrays, outputs: Arrays, *, why: str
    ) -> Decided | None:
        """Choose without a draw; None where nothing may be served."""
        part = self.part(prediction_id, asked, inputs, outputs, guarded=None, closed=why)
        return None if part is None else self.choose([part])[0]

    def _safely(self, part: Part) -> Decided:
        try:
            if any(why is None for why in part.closed):
                return self._choose([part])[0]
        except Exception:  # noqa: BLE001  logged once, above; counted by its reason
            closed: Gates = [why or "error" for why in part.closed]
            part = replace(part, closed=closed)
        keys = [""] * part.decisions  # nothing is drawn
        choices = self._decider.decide(part.question, keys, closed=part.closed, usable=part.usable)
        return self._decided(part, choices, keys, 0)

    def _choose(self, parts: Sequence[Part]) -> list[Decided]:
        epoch = self._epoch()
        units = [self._units(part) for part in parts]
        if self.are_rows_candidates or len(parts) == 1:
            return [
                self._decide(part, named, epoch) for part, named in zip(parts, units, strict=True)
            ]
        whole = self._decide(joined(parts), [u for named in units for u in named], epoch, parts)
        decided, start = [], 0
        for part, named in zip(parts, units, strict=True):
            stop = start + part.decisions
            choices = whole.choices.rows(start, stop)
            decided.append(self._decided(part, choices, named, epoch))
            start = stop
        return decided

    def _decide(
        self,
        part: Part,
        units: Sequence[str],
        epoch: int,
        parts: Sequence[Part] | None = None,
    ) -> Decided:
        closed = [
            why or ("no_unit" if self.settings.unit is not None and not unit else None)
            for why, unit in zip(part.closed, units, strict=True)
        ]
        numbered = [
            (one.prediction_id, at) for one in parts or [part] for at in range(one.decisions)
        ]
        keys = [
            draw_key(prediction, at, unit, epoch)
            for (prediction, at), unit in zip(numbered, units, strict=True)
        ]

        def charge(row: int, regret: float) -> str | None:
            return self._spending.charge(units[row], epoch, regret)

        is_free = self._spending.is_free or self.settings.mode != "on"
        choices = self._decider.decide(
            part.question,
            keys,
            closed=closed,
            usable=part.usable,
            charge=None if is_free else charge,
        )
        return self._decided(part, choices, units, epoch)

    def _decided(self, part: Part, choices: Choices, units: Sequence[str], epoch: int) -> Decided:
        is_single = not isinstance(self.settings, SlateExplore)
        return Decided(choices, part.question, part.ids, tuple(units), epoch, is_single)

    def _units(self, part: Part) -> list[str]:
        """Name the unit of every decision: hidden, or "" where it is the prediction itself."""
        unit = self.settings.unit
        if unit is None:
            return self._own_names(part)
        if unit.input is None:
            name = part.asked.unit
            hidden = "" if name is None else keyed_digest(name, self._key)
            return [hidden] * part.decisions
        named = part.inputs[unit.input]
        first = named.reshape(len(named), -1)[: part.decisions, 0].tolist()
        texts = [
            one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in first
        ]
        return [keyed_digest(text, self._key) if text else "" for text in texts]

    def _own_names(self, part: Part) -> list[str]:
        """Tell the decisions of a request apart by the client's id and what it asks about.

        A stock client that tries again sends the same id, but in the message and not as a header,
        so that the prediction is another one.
        """
        if part.asked.id is None:
            return [""] * part.decisions
        name = keyed_digest(part.asked.id, self._key)
        return [f"{name}/{at}" for at in range(part.decisions)]

    def _epoch(self) -> int:
        unit = self.settings.unit
        return 0 if unit is None else int(self._wall_s() // unit.epoch_s)
