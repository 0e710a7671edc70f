"""Whether the shadow is right more often than the live version, on rows that both answered.

A contest that may be looked at as often as one likes: whatever one hopes for, it names a wrong
winner with probability alpha at most, ever.
"""

import numpy as np
from sqlalchemy import Connection, and_, case, func, select

from gateway.evaluate import tables
from gateway.evaluate.cells import OWN
from gateway.evaluate.tallies import latest_labels
from guards.quality.challenger import Contest, Winner, advance
from guards.settings import Settings


class ContestReport(Settings):
    """Live version (the champion) against shadow (the challenger), by labels."""

    rows: int  # labelled, and answered by both
    champion_errors: int
    challenger_errors: int
    log_evidence: float  # that the challenger is better, nats
    log_counter_evidence: float  # that it is worse
    log_needed: float  # by either, to win
    winner: Winner


def read_contest(
    connection: Connection, model: str, *, live: str, shadow: str, alpha: float
) -> ContestReport:
    """Let the two compete on the labelled rows that both answered themselves."""
    latest, ours = latest_labels(model), tables.predictions.c
    theirs, requests = tables.shadow_predictions.c, tables.requests.c
    errs = (
        case((ours.predicted == latest.c.label, 0), else_=1).label("champion"),
        case((theirs.predicted == latest.c.label, 0), else_=1).label("challenger"),
    )
    pairs = (
        select(*errs)
        .select_from(latest)
        .join(
            tables.predictions,
            and_(
                ours.model == model,
                ours.prediction_id == latest.c.prediction_id,
                ours.row == latest.c.row,
            ),
        )
        .join(
            tables.requests,
            and_(requests.model == model, requests.prediction_id == latest.c.prediction_id),
        )
        .join(
            tables.shadow_predictions,
            and_(
                theirs.model == model,
                theirs.version == shadow,
                theirs.prediction_id == latest.c.prediction_id,
                theirs.row == latest.c.row,
            ),
        )
        .where(requests.version == live, requests.served_by.in_(OWN))
        .subquery()  # grouped by name: PostgreSQL takes a repeated expression for another one
    )
    outcome = (pairs.c.champion, pairs.c.challenger)
    query = select(*outcome, func.count()).group_by(*outcome)
    found = [tuple(map(int, row)) for row in connection.execute(query)]
    # Losses are 0 or 1, and the wealth a product over rows: their counts are all that matters.
    differences = np.repeat(
        [float(champion - challenger) for champion, challenger, _ in found],
        [n for _, _, n in found],
    )
    contest = advance(Contest.begin(), differences)
    return ContestReport(
        rows=contest.rows,
        champion_errors=sum(champion * n for champion, _, n in found),
        challenger_errors=sum(challenger * n for _, challenger, n in found),
        log_evidence=contest.log_evidence,
        log_counter_evidence=contest.log_counter_evidence,
        log_needed=float(-np.log(alpha / 2)),
        winner=contest.winner(alpha=alpha),
    )
