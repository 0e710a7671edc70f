"""What another policy, or another version, would have done where something was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sqlalchemy import Engine, select

from gateway.evaluate import tables
from gateway.evaluate.choice_log import LoggedChoice
from gateway.record.replay import question_of
from gateway.registry.database import reading
from guards.explore.decider import Decider, Question
from guards.explore.decider import Settings as ExploreSettings
from guards.explore.target import OF_THE_REQUEST, UnknownTargetError, target_of

VERSION = "version:"  # begins a target that is a version of the model
_CHUNK = 500  # predictions of one IN clause, and decisions judged together
_UNUSED_SALT = b"probabilities need no salt"

Floats = NDArray[np.float64]
Scores = Mapping[int, Floats]  # by the number of the choice, (1, n)

_settings: TypeAdapter[ExploreSettings] = TypeAdapter(ExploreSettings)


@dataclass(frozen=True, slots=True)
class Likely:
    """How likely a policy does what was done in one decision."""

    slots: Floats  # (slots,), each as it was served, given those before it
    greedy: float  # the logging model's own choice, whole
    actions: Floats | None  # (n,), of a single choice


def likely(
    choices: Sequence[LoggedChoice], target: str = "", *, scores: Scores | None = None
) -> list[Likely]:
    """Ask a policy about logged decisions.

    Gates of the request hold for every policy; those that hang on the logging policy, such as
    its budget, only for itself.

    Args:
        choices: What was logged.
        target: As `target_of` reads it; empty: the policy that logged, with all its gates.
        scores: Of another model for the same candidates; None: those of the log.

    Raises:
        UnknownTargetError: there is no such policy for one of the choices.
    """
    answers: dict[int, Likely] = {}
    for numbers in _alike(choices):
        group = [choices[number] for number in numbers]
        decider = _decider(group[0].drawn.settings, target)
        questions = [question_of(one.drawn).rows(one.at, one.at + 1) for one in group]
        if scores is not None:
            questions = [
                replace(question, scores=scores[number])
                for question, number in zip(questions, numbers, strict=True)
            ]
        found = _ask(decider, _stacked(questions), group, own=not target)
        answers |= dict(zip(numbers, found, strict=True))
    return [answers[number] for number in range(len(choices))]


def shadow_scores(
    engine: Engine, model: str, version: str, choices: Sequence[LoggedChoice]
) -> dict[int, Floats]:
    """Read what a version answered as a shadow, as scores of the candidates, where it did.

    Only captured requests have a shadow's answer; which ones are captured hangs on their id, so
    those are a fair sample of all.
    """
    ids = list({choice.request.prediction_id for choice in choices})
    answers = _shadow_answers(engine, model, version, ids)
    found = {}
    for number, choice in enumerate(choices):
        answer = answers.get(choice.request.prediction_id)
        scores = None if answer is None else _scores(choice, answer)
        if scores is not None:
            found[number] = scores
    return found


def _alike(choices: Sequence[LoggedChoice]) -> Iterator[list[int]]:
    """Number the choices that can be asked about together."""
    groups: dict[tuple[str, int, int, int], list[int]] = {}
    for number, choice in enumerate(choices):
        drawn = choice.drawn
        cells = len(drawn.closed) * drawn.candidates
        alike = (drawn.settings, drawn.candidates, drawn.slots, len(drawn.scores) // max(cells, 1))
        groups.setdefault(alike, []).append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), _CHUNK):
            yield numbers[start : start + _CHUNK]


def _ask(
    decider: Decider, question: Question, choices: Sequence[LoggedChoice], *, own: bool
) -> list[Likely]:
    reasons = [choice.drawn.closed[choice.at] or None for choice in choices]
    closed = reasons if own else [why if why in OF_THE_REQUEST else None for why in reasons]
    served, greedy = (
        np.array([getattr(choice, name) for choice in choices]) for name in ("served", "greedy")
    )
    slots = decider.probability(question, served, closed=closed)
    whole = decider.probability(question, greedy, closed=closed).prod(axis=1)
    actions = [None] * len(choices)
    if choices[0].drawn.kind != "slate":
        actions = list(decider.decide(question, [""] * len(choices), closed=closed).first)
    return [Likely(*one) for one in zip(slots, whole.tolist(), actions, strict=True)]


def _stacked(questions: Sequence[Question]) -> Question:
    """Put decisions under one another."""

    def column(name: str) -> NDArray[np.float64] | None:
        parts = [getattr(question, name) for question in questions]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    names = ("scores", "hashes", "eligible", "extra")
    return Question(*(column(name) for name in names))  # type: ignore[arg-type]  # scores are there


def _scores(choice: LoggedChoice, answer: Mapping[int, float]) -> Floats | None:
    """Make scores of the candidates out of a shadow's answers, (1, n); None if one is missing."""
    drawn = choice.drawn
    if drawn.kind == "threshold":
        raise UnknownTargetError(VERSION, "a shadow's class is not the score of a threshold")
    if drawn.ids and len(drawn.closed) == 1:  # one score per row: the rows are the candidates
        found = [answer.get(row, np.nan) for row in range(drawn.candidates)]
        return None if np.isnan(found).any() else np.array([found])
    action = answer.get(choice.at, np.nan)
    if not 0 <= action < drawn.candidates:
        return None
    return np.eye(drawn.candidates)[[int(action)]]


def _shadow_answers(
    engine: Engine, model: str, version: str, ids: Sequence[str]
) -> dict[str, dict[int, float]]:
    table = tables.shadow_predictions.c
    answers: dict[str, dict[int, float]] = {}
    with reading(engine) as connection:
        for start in range(0, len(ids), _CHUNK):
            query = select(table.prediction_id, table.row, table.predicted).where(
                table.model == model,
                table.version == version,
                table.prediction_id.in_(ids[start : start + _CHUNK]),
            )
            for prediction, row, value in connection.execute(query):
                number = np.nan if value is None else float(value)
                answers.setdefault(prediction, {})[row] = number
    return answers


@lru_cache(maxsize=64)
def _decider(settings: str, target: str) -> Decider:
    """Build the policy; an empty target is the one that logged."""
    explore = _settings.validate_json(settings)
    wanted = target_of(target, explore) if target else explore
    return Decider(wanted, _UNUSED_SALT, domain="")
