"""Champion against challenger, from shadow rows with labels to the gate of a promotion."""

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.api.contest import check_contest
from gateway.errors import ConflictError
from gateway.evaluate.contest import ContestReport
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import Report, report
from gateway.registry.registry import Registry
from guards.quality.challenger import Winner
from tests.gateway.evaluate.decisions import decide

ROWS = 400
Play = Callable[..., Report]


@pytest.fixture
def play(engine: Engine, registry: Registry, database_url: str) -> Play:
    def played(*, live_right: float, shadow_right: float, served_by: str = "model") -> Report:
        """Serve rows whose label is 1, the shadow answering each too."""
        rng = np.random.default_rng(0)
        live, shadow = rng.random(ROWS) < live_right, rng.random(ROWS) < shadow_right
        judgements = Judgements(engine)
        decisions = [
            decide(n, predicted=(float(live[n]),), served_by=served_by) for n in range(ROWS)
        ]
        judgements.record(decisions)
        answers = {d.prediction_id: [float(shadow[n])] for n, d in enumerate(decisions)}
        judgements.record_shadow("mlp", "2", answers, reader="r", position=ROWS)
        store = FeedbackStore(database_url)
        store.add("mlp", [Feedback(d.prediction_id, label=1) for d in decisions])
        return report(engine, registry, "mlp", alpha=0.05)

    return played


def contest_of(found: Report) -> ContestReport:
    assert found.shadow is not None
    assert found.shadow.contest is not None
    return found.shadow.contest


def test_a_better_shadow_wins_and_may_be_promoted(play: Play) -> None:
    found = play(live_right=0.7, shadow_right=0.9)

    contest = contest_of(found)
    assert contest.winner is Winner.CHALLENGER
    assert contest.rows == ROWS
    assert contest.champion_errors > contest.challenger_errors
    assert contest.log_evidence > contest.log_needed
    check_contest(found.model_dump(mode="json"), None)


def test_a_worse_shadow_loses_and_is_not_promoted_unless_somebody_insists(play: Play) -> None:
    found = play(live_right=0.9, shadow_right=0.7)

    assert contest_of(found).winner is Winner.CHAMPION
    told = found.model_dump(mode="json")
    for version in (None, "2"):
        with pytest.raises(ConflictError, match="wrong more often"):
            check_contest(told, version)
    check_contest(told, "1")  # another version: nothing is known of it


def test_equals_leave_it_undecided_and_the_promotion_free(play: Play) -> None:
    found = play(live_right=0.8, shadow_right=0.8)

    assert contest_of(found).winner is Winner.UNDECIDED
    check_contest(found.model_dump(mode="json"), None)


def test_rows_that_the_ladder_answered_are_no_rows_of_the_contest(play: Play) -> None:
    found = play(live_right=0.2, shadow_right=0.9, served_by="fallback:constant")

    assert contest_of(found).rows == 0
    assert contest_of(found).winner is Winner.UNDECIDED


def test_a_report_without_a_shadow_lets_every_promotion_pass() -> None:
    check_contest({"shadow": None}, None)
