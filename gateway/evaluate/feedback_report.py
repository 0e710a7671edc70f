"""What became of rewards and confirmations: in time, late, about nobody, or said before."""

from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, or_, select

from gateway.evaluate import tables
from gateway.evaluate.joined import Window
from gateway.evaluate.tallies import count_if
from guards.settings import Settings
from models.feedback_spec import FeedbackSpec


class FeedbackReport(Settings):
    """Events of each kind; labels are not among them, they may come at any time."""

    window_s: float
    grace_s: float
    default_reward: float
    in_time: int
    late: int  # observed or received after the window; they change nothing
    orphans: int  # about a prediction that is not known (yet)
    duplicates: int  # said before, under the same idempotency key
    contradicting: int  # refused: something else than before under the same key


def read_feedback(
    connection: Connection, model: str, spec: FeedbackSpec, window: Window
) -> FeedbackReport:
    """Count the events of a model."""
    late = orphans = total = 0
    for table in (tables.rewards, tables.confirmations):
        n, unknown, after = connection.execute(_counts(table, model, window)).one()
        total, orphans, late = total + n, orphans + int(unknown or 0), late + int(after or 0)
    duplicates = connection.scalar(
        select(tables.duplicates.c.events).where(tables.duplicates.c.model == model)
    )
    contradicting = connection.scalar(
        select(func.count()).where(tables.contradictions.c.model == model)
    )
    return FeedbackReport(
        window_s=spec.window_s,
        grace_s=spec.grace_s,
        default_reward=spec.default_reward,
        in_time=total - orphans - late,
        late=late,
        orphans=orphans,
        duplicates=duplicates or 0,
        contradicting=contradicting or 0,
    )


def _counts(table: Table, model: str, window: Window) -> Select[Any]:
    """Count all events, those of no known prediction, and those that are late for `Window`."""
    events, requests = table.c, tables.requests.c
    is_late = or_(
        events.observed_ns > requests.arrived_ns + window.length_ns,
        events.received_ns > requests.arrived_ns + window.length_ns + window.grace_ns,
    )
    known = and_(requests.model == model, requests.prediction_id == events.prediction_id)
    return (
        select(
            func.count(),
            count_if(requests.prediction_id.is_(None)),
            count_if(is_late),
        )
        .select_from(table)
        .outerjoin(tables.requests, known)
        .where(events.model == model)
    )
