"""What would another policy, or version, have earned?  Answered from the log, or refused."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from gateway.evaluate.choice_log import ChoiceLog, LoggedChoice
from gateway.evaluate.joined import Join
from gateway.evaluate.logged_data import (
    logged_singles,
    logged_slates,
    predictions_of,
    table_of,
)
from gateway.evaluate.targets import VERSION, Likely, likely, shadow_scores
from guards.explore.target import UnknownTargetError
from guards.quality.offpolicy.diagnostics import Diagnostics, Handling, diagnose
from guards.quality.offpolicy.logged import EXPLORED_MODE, LoggedData
from guards.quality.offpolicy.report import Line, Report, report_choices, report_slates
from guards.settings import Settings
from models.choice import are_rows_candidates, scores_of
from models.manifest import Manifest
from models.prediction import answers_classes

Floats = NDArray[np.float64]
Json = dict[str, Any]


class Estimates(Settings):
    """The answer.  Values are rewards per decision, summed over the slots of a ranking."""

    model: str
    target: str
    decisions: int  # that were used
    left_out: dict[str, int]  # why others were not
    unused_feedback: dict[str, int]  # events that changed no decision: late, orphans, contradicting
    verdict: str  # earns more | earns less | undecided | refused
    reasons: tuple[str, ...]
    difference: float | None  # of the target to what was earned
    low: float | None
    high: float | None
    earned: Json | None  # what the logging policy earned
    estimates: tuple[Json, ...]  # by estimator; only those that may decide decide
    diagnostics: Json | None


@dataclass(frozen=True, slots=True)
class _Usable:
    """What of the log may be used."""

    choices: tuple[LoggedChoice, ...]
    left_out: dict[str, int]
    handling: Handling


def estimate(
    engine: Engine, manifest: Manifest, log: ChoiceLog, target: str, *, alpha: float
) -> Estimates:
    """Estimate what ``target`` would have earned.

    Args:
        engine: Where the answers of shadows are.
        manifest: Of the live version: rows of another kind of choice are left out.
        log: Joined over the full window.
        target: ``greedy``, ``uniform``, a policy with its parameters, or ``version:N``.
        alpha: Of every interval, and of the verdict.

    Raises:
        UnknownTargetError: there is no such policy for this choice.
    """
    usable = _usable(log, manifest)
    choices, scores = usable.choices, None
    version = target.removeprefix(VERSION) if target.startswith(VERSION) else None
    if version is not None:
        _check_version_target(manifest, target)
        found = shadow_scores(engine, manifest.name, version, choices)
        scores = dict(enumerate(found.values()))
        usable.left_out["without an answer of the shadow"] = len(choices) - len(found)
        choices = tuple(choices[number] for number in found)
    if not choices:
        return _nothing(manifest.name, target, usable.left_out, log.joined)
    asked = likely(choices, "greedy" if version is not None else target, scores=scores)
    build = _of_slates if choices[0].drawn.kind == "slate" else _of_singles
    found_report = build(choices, asked, usable.handling, alpha)
    about = (manifest.name, target, len(choices), usable.left_out, log.joined)
    return _told(*about, found_report)


def _check_version_target(manifest: Manifest, target: str) -> None:
    """Refuse where the one number that a shadow keeps per row is not what is chosen by."""
    explore, signature = manifest.explore, manifest.signature
    if explore.kind == "none":
        return
    if scores_of(explore, signature) != signature.answer:
        raise UnknownTargetError(target, "a shadow keeps its answer, not the scores of the choice")
    if are_rows_candidates(explore, signature) and answers_classes(signature):
        raise UnknownTargetError(target, "a shadow keeps classes, not the scores of candidates")


def _usable(log: ChoiceLog, manifest: Manifest) -> _Usable:
    """Sort out what was not served as it was drawn, or is not known yet."""
    left_out: Counter[str] = Counter()
    kept, closed, overridden = [], 0, 0
    for choice in log.choices:
        if choice.drawn.kind != manifest.explore.kind:
            left_out["another kind of choice"] += 1
        elif choice.drawn.mode != EXPLORED_MODE:
            left_out[f"mode {choice.drawn.mode}"] += 1
        elif choice.joined.state == "pending":
            left_out["window still open"] += 1
        else:
            closed += 1
            overridden += choice.joined.is_overridden
            if choice.joined.is_overridden:
                left_out["overridden"] += 1
            else:
                kept.append(choice)
    if kept:  # rankings of another length are other choices
        slots = kept[-1].drawn.slots
        left_out["another number of slots"] = sum(one.drawn.slots != slots for one in kept)
        kept = [one for one in kept if one.drawn.slots == slots]
    handling = Handling(closed, closed, log.joined.late, overridden)
    return _Usable(tuple(kept), dict(left_out), handling)


def _of_singles(
    choices: Sequence[LoggedChoice], asked: Sequence[Likely], handling: Handling, alpha: float
) -> Report:
    data = logged_singles(choices, asked)
    width = {choice.drawn.candidates for choice in choices}
    if any(choice.drawn.ids for choice in choices) or len(width) > 1:
        seen = _diagnosed(data, choices, asked, handling)
    else:
        own = likely(choices)
        seen = diagnose(
            data,
            actions=np.array([choice.served[0] for choice in choices]),
            logging=table_of([one.actions for one in own]),
            target=table_of([one.actions for one in asked]),
            handling=handling,
        )
    predictions = predictions_of(choices, asked, data)
    return report_choices(data, seen, predictions=predictions, alpha=alpha)


def _of_slates(
    choices: Sequence[LoggedChoice], asked: Sequence[Likely], handling: Handling, alpha: float
) -> Report:
    data = logged_slates(choices, asked)
    return report_slates(data, _diagnosed(data.whole, choices, asked, handling), alpha=alpha)


def _diagnosed(
    data: LoggedData,
    choices: Sequence[LoggedChoice],
    asked: Sequence[Likely],
    handling: Handling,
) -> Diagnostics:
    """Diagnose choices whose candidates change: there are two actions, the greedy one and another.

    Whether the greedy one was served as often as its propensity says is a check that needs no
    more than that.
    """
    logging = _greedy_or_not([choice.drawn.p_greedy[choice.at] for choice in choices])
    target = _greedy_or_not([one.greedy for one in asked])
    is_other = [(choice.served != choice.greedy).any() for choice in choices]
    seen = diagnose(
        data,
        actions=np.array(is_other, np.int64),
        logging=logging,
        target=target,
        handling=handling,
    )
    return replace(seen, inverse_propensity=None)  # of two actions it would mean nothing


def _greedy_or_not(greedy: Sequence[float]) -> Floats:
    p = np.clip(np.array(greedy), 0.0, 1.0)
    return np.column_stack([p, 1 - p])


def _nothing(model: str, target: str, left_out: dict[str, int], joined: Join) -> Estimates:
    return Estimates(
        model=model,
        target=target,
        decisions=0,
        left_out=_counted(left_out),
        unused_feedback=_unused(joined),
        verdict="refused",
        reasons=("no decision that was served as it was drawn, and whose window is over",),
        difference=None,
        low=None,
        high=None,
        earned=None,
        estimates=(),
        diagnostics=None,
    )


def _told(
    model: str,
    target: str,
    decisions: int,
    left_out: dict[str, int],
    joined: Join,
    found: Report,
) -> Estimates:
    comparison = found.comparison
    return Estimates(
        model=model,
        target=target,
        decisions=decisions,
        left_out=_counted(left_out),
        unused_feedback=_unused(joined),
        verdict=comparison.verdict.value,
        reasons=comparison.reasons,
        difference=finite(comparison.difference),
        low=finite(comparison.interval.low),
        high=finite(comparison.interval.high),
        earned=_line(found.baseline),
        estimates=tuple(map(_line, found.lines)),
        diagnostics=finite(asdict(found.diagnostics)),
    )


def _line(line: Line) -> Json:
    told: Json = finite(
        {
            "estimator": line.estimator,
            "value": line.value,
            "standard_error": line.standard_error,
            "low": line.interval.low,
            "high": line.interval.high,
            "anytime_low": line.anytime.low,
            "anytime_high": line.anytime.high,
            "may_decide": line.may_decide,
        }
    )
    return told


def _unused(joined: Join) -> dict[str, int]:
    return {
        "late": joined.late,
        "orphans": joined.orphans,
        "contradicting": joined.contradicting,
    }


def _counted(left_out: dict[str, int]) -> dict[str, int]:
    return {why: n for why, n in left_out.items() if n}


def finite(value: Any) -> Any:
    """Put None in place of what JSON has no number for."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
