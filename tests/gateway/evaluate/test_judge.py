"""From the evidence to the judgements: everything once, whenever and in whatever order it comes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.evaluate.judge import MAX_PENDING, STEPS, Judge
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.notification import Notification
from gateway.record.decision import Decision
from gateway.record.evidence import Evidence


def test_a_full_list_takes_no_more(tmp_path: Path, engine: Engine) -> None:
    judge = Judge(Evidence(str(tmp_path / "evidence")), Judgements(engine))
    many = [Notification("", "", f"{n:032x}", "mlp", 1) for n in range(MAX_PENDING)]

    assert judge.take(many)
    assert not judge.take([Notification("", "", "f" * 32, "mlp", 1)])
    assert judge.pending == MAX_PENDING


def test_a_notification_of_long_ago_is_left_to_the_reconciler(
    tmp_path: Path, engine: Engine, decisions: list[Decision]
) -> None:
    url, old = str(tmp_path / "evidence"), decisions[0]
    Evidence(url).append([old], through={})
    judge = Judge(Evidence(url), Judgements(engine), clock_ns=lambda: old.arrived_ns + 10**13)
    judge.take([Notification("", "", old.prediction_id, "mlp", old.arrived_ns)])

    assert judge.judge_notified() == 0
    assert judge.pending == 0
    assert judge.reconcile() == 1


def test_a_commit_that_came_out_of_order_is_found_within_a_minute(
    tmp_path: Path, engine: Engine, decisions: list[Decision]
) -> None:
    url = str(tmp_path / "evidence")
    now_ns = 10**18
    judge = Judge(Evidence(url), Judgements(engine), clock_ns=lambda: now_ns)
    Evidence(url, clock_ns=lambda: now_ns).append(decisions[:5], through={})
    assert judge.reconcile() == 5

    Evidence(url, clock_ns=lambda: now_ns - 50 * 10**9).append(decisions[5:], through={})
    now_ns += 30 * 10**9
    assert judge.reconcile() == 0
    now_ns += 30 * 10**9
    assert judge.reconcile() == 15


def test_what_came_while_nobody_judged_is_read_a_few_seconds_at_once(
    tmp_path: Path, engine: Engine, decisions: list[Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, began_ns = str(tmp_path / "evidence"), 10**18
    for n, decision in enumerate(decisions):
        at_ns = began_ns + n * 10**9 + (n >= 10) * 3600 * 10**9  # an hour without traffic
        Evidence(url, clock_ns=lambda at_ns=at_ns: at_ns).append([decision], through={})
    evidence, sizes = Evidence(url), []
    read = evidence.read

    def counting(**what: Any) -> list[tuple[int, Decision]]:
        sizes.append(len(found := read(**what)))
        return found

    monkeypatch.setattr(evidence, "read", counting)
    judge = Judge(evidence, Judgements(engine), clock_ns=lambda: began_ns + 2 * 3600 * 10**9)

    assert sum(judge.reconcile() for _ in range(4)) == len(decisions)
    assert max(sizes) == 2  # what was seen last, and the next
    assert judge.reconcile() == 0


def test_what_is_committed_while_it_judges_is_judged_next_time(
    tmp_path: Path, engine: Engine, decisions: list[Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, now_ns = str(tmp_path / "evidence"), 10**18
    judgements = Judgements(engine)
    judge = Judge(Evidence(url), judgements, clock_ns=lambda: now_ns)
    Evidence(url, clock_ns=lambda: now_ns).append(decisions[:5], through={})
    record = judgements.record

    def meanwhile(found: Iterable[Decision]) -> int:
        found = list(found)
        if not found:
            return 0
        monkeypatch.setattr(judgements, "record", record)
        Evidence(url, clock_ns=lambda: now_ns + 10**9).append(decisions[5:10], through={})
        Evidence(url, clock_ns=lambda: now_ns + 3 * 10**9).append(decisions[10:], through={})
        return record(found)

    monkeypatch.setattr(judgements, "record", meanwhile)

    assert judge.reconcile() == 5
    assert judge.reconcile() == 15


def test_a_long_backlog_is_judged_in_several_turns(
    tmp_path: Path, engine: Engine, decisions: list[Decision]
) -> None:
    url, began_ns = str(tmp_path / "evidence"), 10**18
    for n, decision in enumerate(decisions):
        at_ns = began_ns + 4 * n * 10**9
        Evidence(url, clock_ns=lambda at_ns=at_ns: at_ns).append([decision], through={})
    judge = Judge(Evidence(url), Judgements(engine), clock_ns=lambda: began_ns + 10**12)

    turns = [judge.reconcile() for _ in range(8)]

    assert sum(turns) == len(decisions)
    assert max(turns) <= STEPS


def test_a_later_try_that_was_committed_out_of_order_takes_the_place_of_the_known_one(
    tmp_path: Path, engine: Engine, decisions: list[Decision]
) -> None:
    url = str(tmp_path / "evidence")
    now_ns = 10**18
    judgements = Judgements(engine)
    judge = Judge(Evidence(url), judgements, clock_ns=lambda: now_ns)
    Evidence(url, clock_ns=lambda: now_ns).append(decisions[:2], through={})
    assert judge.reconcile() == 2

    tries = [
        replace(decisions[n], arrived_ns=decisions[n].arrived_ns + later)
        for n, later in ((0, 1), (1, -1))
    ]
    Evidence(url, clock_ns=lambda: now_ns - 50 * 10**9).append(tries, through={})
    now_ns += 60 * 10**9

    assert judge.reconcile() == 1
    known = [(d.model, d.prediction_id, d.arrived_ns) for d in (tries[0], decisions[1])]
    assert judgements.unknown(known) == []
    assert judgements.unknown([(known[0][0], known[0][1], known[0][2] + 1)]) == [known[0][1]]
