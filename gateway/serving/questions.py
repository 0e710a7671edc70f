"""What a request asks of a choice: its tensors as questions, and what forbids to explore them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.explore.decider import Question, Settings
from guards.explore.policies import CostAware, FromModel
from guards.explore.rng import item_hashes
from guards.explore.settings import SingleExplore, SlateExplore, ThresholdExplore
from models.choice import are_rows_candidates, scores_of
from models.signature import Signature

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
Gates = list[str | None]

CELLS_MAX = 16_384  # candidates of one request whose decision fits into its record


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of its choice beside its tensors."""

    id: str | None = None  # the client's name for it: asked again, it is decided alike
    unit: str | None = None  # the parameter that names the unit
    is_exempt: bool = False  # asks not to be explored


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Part:
    """One request, as questions."""

    prediction_id: str
    asked: Asked
    question: Question
    ids: NDArray[Any] | None  # (d, n); None: columns
    inputs: Arrays
    closed: Gates  # (d,)
    usable: NDArray[np.bool_]  # (d, n)

    @property
    def decisions(self) -> int:
        """How many there are to make."""
        return len(self.question.scores)


def joined(parts: Sequence[Part]) -> Part:
    """Put the questions of several requests under one another."""

    def put(name: str) -> Any:
        arrays = [getattr(part.question, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    names = ("scores", "hashes", "eligible", "extra", "baseline", "exposure")
    question = Question(*(put(name) for name in names))
    closed = [why for part in parts for why in part.closed]
    usable = np.concatenate([part.usable for part in parts])
    return Part("", NOTHING_ASKED, question, None, {}, closed, usable)


class Reader:
    """Reads the questions of one version's requests."""

    def __init__(self, settings: Settings, signature: Signature) -> None:
        self._settings = settings
        self._scores = scores_of(settings, signature).name
        self.are_rows_candidates = are_rows_candidates(settings, signature)

    def question(self, inputs: Arrays, outputs: Arrays) -> tuple[Question, NDArray[Any] | None]:
        """Read what there is to choose from, and the ids of the candidates if they have any."""
        settings, scores = self._settings, outputs[self._scores]
        if isinstance(settings, ThresholdExplore):
            return _approvals(settings, scores, inputs), None
        shape = (1, len(scores)) if self.are_rows_candidates else (len(scores), -1)
        ids = None if settings.ids is None else inputs[settings.ids].reshape(shape)
        extra = None
        if isinstance(settings, SlateExplore) and settings.cold_start is not None:
            extra = _numbers(inputs, settings.cold_start.weights, shape)
        elif isinstance(settings, SingleExplore) and isinstance(settings.policy, FromModel):
            extra = _numbers(outputs, settings.policy.output, shape)
        question = Question(
            _as_floats(scores.reshape(shape)),
            None if ids is None else item_hashes(ids.reshape(-1)).reshape(ids.shape),
            None if settings.eligible is None else inputs[settings.eligible].reshape(shape) != 0,
            extra,
            None
            if settings.baseline is None
            else inputs[settings.baseline].reshape(shape).astype(np.int64),
        )
        return question, ids

    def gates(
        self,
        asked: Asked,
        inputs: Arrays,
        question: Question,
        guarded: NDArray[np.bool_] | None,
    ) -> Gates:
        """Find what forbids exploring, apart from scores and budget; a failure forbids it too."""
        try:
            return self._gates(asked, inputs, question, guarded)
        except Exception as error:  # noqa: BLE001  a fault of exploring must not fail the request
            log.error("a gate failed, nothing is explored: %s", type(error).__name__)
            return ["error"] * len(question.scores)

    def _gates(
        self,
        asked: Asked,
        inputs: Arrays,
        question: Question,
        guarded: NDArray[np.bool_] | None,
    ) -> Gates:
        decisions, settings = len(question.scores), self._settings
        if asked.is_exempt:
            return ["exempt"] * decisions
        if question.scores.size > CELLS_MAX:
            return ["too_large"] * decisions
        gates: Gates = [None] * decisions
        if guarded is not None:
            _shut(gates, guarded, "guard")
        if settings.exempt is not None:
            is_exempt = inputs[settings.exempt].reshape(len(inputs[settings.exempt])) != 0
            _shut(gates, is_exempt, "exempt")
        if isinstance(settings, SingleExplore) and question.hashes is not None:
            ranked = np.sort(question.hashes, axis=1)
            _shut(gates, (ranked[:, 1:] == ranked[:, :-1]).any(axis=1), "duplicate_ids")
        return gates


def _approvals(settings: ThresholdExplore, scores: NDArray[Any], inputs: Arrays) -> Question:
    shape = (len(scores), 1)
    column = scores.reshape(len(scores), -1)[:, settings.column : settings.column + 1]
    cost = settings.shape.cost if isinstance(settings.shape, CostAware) else None
    exposure = _numbers(inputs, settings.exposure, shape)
    return Question(
        _as_floats(column),
        extra=_numbers(inputs, cost, shape),
        exposure=None if exposure is None else exposure[:, 0],
    )


def _shut(gates: Gates, where: NDArray[np.bool_], why: str) -> None:
    """Close gates; of one decision over all rows if any of them says so."""
    if not where.any():
        return
    if len(gates) == 1:
        gates[0] = gates[0] or why
        return
    for row in np.flatnonzero(where).tolist():
        gates[row] = gates[row] or why


def _as_floats(scores: NDArray[Any]) -> NDArray[Any]:
    """Keep float32 and float64, which records hold as they are; widen everything else."""
    if scores.dtype in (np.float32, np.float64):
        return scores
    return scores.astype(np.float32 if scores.dtype.itemsize == 2 else np.float64)


def _numbers(
    arrays: Arrays, name: str | None, shape: tuple[int, int]
) -> NDArray[np.float64] | None:
    return None if name is None else arrays[name].reshape(shape).astype(np.float64)
