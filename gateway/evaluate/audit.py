"""An audit: which rows are to be labelled, and what their labels say of all of them.

Every captured row of the live version may be chosen, unsure and strange ones more often, each
with a chance that is kept before anybody looks.  Its labels come back as feedback.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, func, select

from gateway.evaluate import tables
from gateway.evaluate.captured import Captured, Key
from gateway.evaluate.expected import expected_wrong
from gateway.evaluate.tallies import latest_labels
from guards.quality.audit.inference import LEAST_LABELS, audited_loss
from guards.quality.audit.sampler import drawn, propensities
from guards.quality.expectation import Judgement, State, judge_measured
from guards.quality.measured import Measured
from guards.settings import Settings
from models.held_out import HeldOut

LEAST_ANSWERED = 0.8  # of the rows of a round: below, those that were easy to label speak for all
ASSUMES = "whether a chosen row was labelled does not depend on whether its answer was right"


class AuditReport(Settings):
    """The accuracy of all rows that audits could have chosen, from the labels of those chosen."""

    rounds: int  # of which at least `LEAST_ANSWERED` was labelled
    waiting: int  # chosen rows of other rounds that have no label yet
    rows: int  # of those rounds
    chosen: int
    labels: int
    accuracy: float | None  # None: refused, there are too few labels
    low: float | None  # PPI++, at one look
    high: float | None
    anytime_low: float | None  # at all looks together
    anytime_high: float | None
    tuning: float | None  # 0: what was expected of the rows was of no use; 1: taken for labels
    narrower: float | None  # width over that of the interval without what was expected
    assumption: str = ASSUMES


def choose_rows(
    connection: Connection,
    model: str,
    version: str,
    captured: Captured,
    held_out: HeldOut | None,
    *,
    budget: int,
    salt: bytes,
) -> tuple[int, list[dict[str, Any]]]:
    """Choose rows of no former round, and keep what could have been chosen.

    Args:
        connection: In a transaction that writes.
        model: Its name.
        version: That answered.
        captured: What to choose from; with probabilities.
        held_out: Says how often an answer of such confidence is wrong.
        budget: Labels wanted, on average.
        salt: Secret of the draw.

    Returns:
        Number of the round, from 1, and the rows to label, with their propensity; 0 and none
        where all rows were in a round before.
    """
    assert captured.probabilities is not None
    table = tables.audited
    known = _known(connection, model)
    fresh = captured.take(np.array([key not in known for key in captured.keys], np.bool_))
    if not len(fresh) or fresh.probabilities is None:
        return 0, []
    expected = np.clip(expected_wrong(fresh.probabilities, held_out), 0.0, 1.0)
    chances = propensities(expected, fresh.strange, budget=min(budget, len(fresh)))
    names = [f"{prediction}/{row}" for prediction, row in fresh.keys]
    chosen = drawn(names, chances, salt=salt)
    last = connection.scalar(select(func.max(table.c.round)).where(table.c.model == model))
    number = (last or 0) + 1
    rows = [
        {
            "model": model,
            "version": version,
            "round": number,
            "prediction_id": prediction,
            "row": row,
            "predicted": float(fresh.predicted[at]),
            "propensity": float(chances[at]),
            "expected": float(expected[at]),
            "chosen": bool(chosen[at]),
        }
        for at, (prediction, row) in enumerate(fresh.keys)
    ]
    connection.execute(table.insert(), rows)
    wanted = ("prediction_id", "row", "predicted", "propensity")
    return number, [{name: one[name] for name in wanted} for one in rows if one["chosen"]]


def waiting_rows(connection: Connection, model: str) -> list[dict[str, Any]]:
    """List the chosen rows of a model that have no label yet, the oldest round first."""
    return [
        {"prediction_id": row.prediction_id, "row": row.row, "round": row.round}
        for row in _chosen(connection, model, None)
        if row.label is None
    ]


def read_audit(
    connection: Connection, model: str, version: str, *, alpha: float
) -> AuditReport | None:
    """Say what audits of a version found; None before the first."""
    table = tables.audited.c
    first = select(table.round).where(table.model == model, table.version == version).limit(1)
    if connection.scalar(first) is None:  # the join with all labels is not for free
        return None
    chosen = _chosen(connection, model, version)
    answered = _answered(chosen)
    rounds = {number: share for number, share in answered.items() if share >= LEAST_ANSWERED}
    waiting = sum(row.label is None and row.round not in rounds for row in chosen)
    query = (
        select(table.prediction_id, table.row, table.round, table.propensity, table.expected)
        .where(table.model == model, table.version == version, table.round.in_(list(rounds)))
        .order_by(table.round, table.prediction_id, table.row)  # sums must not depend on it
    )
    rows = connection.execute(query).all()
    labelled = {
        (row.prediction_id, row.row): float(row.label != row.predicted)
        for row in chosen
        if row.label is not None and row.round in rounds
    }
    loss = np.array([labelled.get((row.prediction_id, row.row), np.nan) for row in rows])
    found = audited_loss(
        loss,
        ~np.isnan(loss),
        np.array([row.propensity * rounds[row.round] for row in rows]),
        np.array([row.expected for row in rows]),
        alpha=alpha,
    )
    told = AuditReport(
        rounds=len(rounds),
        waiting=waiting,
        rows=len(rows),
        chosen=sum(row.round in rounds for row in chosen),
        labels=len(labelled),
        **dict.fromkeys(
            ("accuracy", "low", "high", "anytime_low", "anytime_high", "tuning", "narrower")
        ),
    )
    if found is None:
        return told
    width = found.interval.high - found.interval.low
    return told.model_copy(
        update={
            "accuracy": _share(1 - found.loss),
            "low": _share(1 - found.interval.high),
            "high": _share(1 - found.interval.low),
            "anytime_low": _share(1 - found.anytime.high),
            "anytime_high": _share(1 - found.anytime.low),
            "tuning": found.tuning,
            "narrower": width / found.classical_width if found.classical_width else None,
        }
    )


def judge_audited(found: AuditReport | None, target: float) -> Judgement | None:
    """Judge the accuracy by audits; None where they chose too few rows to change anything.

    The labels that an audit asked for are of rows that are harder than most, so once there is
    one, the plain share of right answers is none that could be judged.
    """
    if found is None or found.chosen + found.waiting < LEAST_LABELS:
        return None
    accuracy, low, high = found.accuracy, found.anytime_low, found.anytime_high
    if accuracy is None or low is None or high is None:
        reason = f"audit: {found.waiting} chosen rows wait for a label"
        return Judgement(State.UNKNOWN, reason, None, None, None)
    measured = Measured("accuracy", found.labels, accuracy, low, high)
    judged = judge_measured(target, measured, larger_is_better=True)
    reason = f"audit of {found.rows:,} rows: {judged.reason}"
    return Judgement(judged.state, reason, judged.estimate, judged.low, judged.high)


def _known(connection: Connection, model: str) -> set[Key]:
    table = tables.audited.c
    query = select(table.prediction_id, table.row).where(table.model == model)
    return {(row.prediction_id, row.row) for row in connection.execute(query)}


def _chosen(connection: Connection, model: str, version: str | None) -> Sequence[Any]:
    """Read the chosen rows with their label, NULL where there is none."""
    table, latest = tables.audited.c, latest_labels(model)
    of_row = and_(latest.c.prediction_id == table.prediction_id, latest.c.row == table.row)
    query = (
        select(table.prediction_id, table.row, table.round, table.predicted, latest.c.label)
        .select_from(tables.audited)
        .outerjoin(latest, of_row)
        .where(table.model == model, table.chosen)
        .order_by(table.round, table.prediction_id, table.row)
    )
    if version is not None:
        query = query.where(table.version == version)
    return connection.execute(query).all()


def _answered(chosen: Sequence[Any]) -> dict[int, float]:
    """Find the share of each round's rows that were labelled."""
    rounds: dict[int, list[bool]] = {}
    for row in chosen:
        rounds.setdefault(row.round, []).append(row.label is not None)
    return {number: sum(told) / len(told) for number, told in rounds.items()}


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
