"""From spans and evidence to the report, through the whole evaluator."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from msgspec.structs import replace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sqlalchemy import Engine

from gateway.config import Config, EvaluateSettings
from gateway.evaluate.evaluator import Evaluator
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.judge import MAX_PENDING, STEPS, Judge
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.notification import Notification
from gateway.evaluate.report import Report, report
from gateway.record.decision import Decision, Stages
from gateway.record.evidence import Evidence
from gateway.record.spans import SpanReplay
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.examples import mlp
from models.prediction import predicted
from models.runtime.catalog import open_runtime
from tests.gateway.evaluate.decisions import decide, payload_of

NEVER_S = 3600.0


@pytest.fixture
def decisions(bundles: tuple[Bundle, Bundle]) -> list[Decision]:
    """What version 1 answered to 20 requests of 3 rows, half of them captured."""
    runtime, signature = open_runtime(bundles[0]), bundles[0].manifest.signature
    made = []
    for n in range(20):
        rows = mlp.ordinary_rows(3, np.random.default_rng(n))
        answer = predicted(runtime.predict({"features": rows}), signature)
        payload = payload_of(rows) if n % 2 else None
        made.append(decide(n, rows=3, predicted=tuple(answer.tolist()), payload=payload))
    return made


def _config(tmp_path: Path, *, judge_ms: float = 20, reconcile_s: float = 0.1) -> Config:
    return Config(
        state=tmp_path, evaluate=EvaluateSettings(judge_ms=judge_ms, reconcile_s=reconcile_s)
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Evaluator]:
    evaluator = Evaluator(config, grpc_port=0, http_port=0)
    await evaluator.start()
    try:
        yield evaluator
    finally:
        await evaluator.stop()


async def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def _report(engine: Engine, registry: Registry) -> Report:
    return report(engine, registry, "mlp", alpha=0.05)


def _without_shadow(registry: Registry) -> None:
    registry.reject("mlp", "2", who="test", why="not in this test")


def _send_spans(decisions: list[Decision], port: int) -> None:
    """Send the spans as the recorder does."""
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}", insecure=True)
    replay = SpanReplay([SimpleSpanProcessor(exporter)], trace_share=1.0)
    for decision in decisions:
        replay.draw(decision, "share")
    exporter.shutdown()


def _recent(decisions: list[Decision]) -> list[Decision]:
    """The same, arriving about now: a notification of long ago is left to the reconciler."""
    now_ns = time.time_ns()
    stages = Stages(1000, 2000, 3000, 4000, 0, 5000)
    return [replace(d, arrived_ns=now_ns + n, stages=stages) for n, d in enumerate(decisions)]


async def test_spans_have_their_requests_judged_without_the_reconciler(
    tmp_path: Path, engine: Engine, registry: Registry, decisions: list[Decision]
) -> None:
    _without_shadow(registry)
    async with running(_config(tmp_path, reconcile_s=NEVER_S)) as evaluator:
        await asyncio.sleep(0)
        await evaluator._in_thread(lambda: None)  # behind the first and only reconciliation
        recent = _recent(decisions)
        Evidence(str(tmp_path / "evidence")).append(recent, through={})
        port = (await evaluator.status())["grpc_port"]
        await asyncio.to_thread(_send_spans, recent[:15], port)
        await until(lambda: _report(engine, registry).requests == 15)

        status = await evaluator.status()
    assert status["judged_by_span"] == 15
    assert status["spans_received"] == 15 * 4  # with queue, guards and infer


async def test_the_report_is_the_same_when_every_span_is_lost(
    tmp_path: Path, engine: Engine, registry: Registry, decisions: list[Decision]
) -> None:
    _without_shadow(registry)
    Evidence(str(tmp_path / "evidence")).append(decisions, through={})
    async with running(_config(tmp_path)):
        await until(lambda: _report(engine, registry).requests == 20)
    found = _report(engine, registry)

    Judgements(engine).record(decisions)
    assert _report(engine, registry) == found


async def test_labels_are_joined_whether_they_come_before_or_after(
    tmp_path: Path,
    engine: Engine,
    registry: Registry,
    decisions: list[Decision],
    database_url: str,
) -> None:
    _without_shadow(registry)
    store = FeedbackStore(database_url)
    store.add("mlp", [Feedback(d.prediction_id, label=list(d.predicted)) for d in decisions[:10]])
    async with running(_config(tmp_path)):
        Evidence(str(tmp_path / "evidence")).append(decisions, through={})
        await until(lambda: _report(engine, registry).requests == 20)
    wrong = [Feedback(d.prediction_id, label=[1 - p for p in d.predicted]) for d in decisions[10:]]
    store.add("mlp", wrong)

    accuracy = _report(engine, registry).versions[0].accuracy
    assert (accuracy.hits, accuracy.n) == (30, 60)


async def test_another_evaluator_goes_on_where_the_last_one_was(
    tmp_path: Path, engine: Engine, registry: Registry, decisions: list[Decision]
) -> None:
    _without_shadow(registry)
    evidence = Evidence(str(tmp_path / "evidence"))
    evidence.append(decisions[:10], through={})
    async with running(_config(tmp_path)):
        await until(lambda: _report(engine, registry).requests == 10)
    evidence.append(decisions[10:], through={})

    async with running(_config(tmp_path)) as second:
        await until(lambda: _report(engine, registry).requests == 20)
        async with asyncio.timeout(10):  # it counts what it has written, after it has
            while not (told := await second.status())["judged"]:
                await asyncio.sleep(0.02)
        assert told["judged"] == 10


async def test_start_may_be_called_again_and_repairs_a_loop_that_ended(
    tmp_path: Path, engine: Engine, registry: Registry, decisions: list[Decision]
) -> None:
    _without_shadow(registry)
    async with running(_config(tmp_path)) as evaluator:
        port = (await evaluator.status())["grpc_port"]
        for task in evaluator._loops.values():
            task.cancel()
        await asyncio.sleep(0.05)
        await evaluator.start()
        assert (await evaluator.status())["grpc_port"] == port
        Evidence(str(tmp_path / "evidence")).append(decisions, through={})
        await until(lambda: _report(engine, registry).requests == 20)


async def test_evidence_that_is_away_for_a_while_stops_nothing(
    tmp_path: Path, engine: Engine, registry: Registry, decisions: list[Decision]
) -> None:
    _without_shadow(registry)
    evidence = tmp_path / "evidence"
    (evidence / "_delta_log").mkdir(parents=True)
    broken = evidence / "_delta_log" / "00000000000000000000.json"
    broken.write_text("this is no log")
    async with running(_config(tmp_path)) as evaluator:
        for _ in range(200):
            if (await evaluator.status())["outages"]:
                break
            await asyncio.sleep(0.02)
        broken.unlink()
        Evidence(str(evidence)).append(decisions, through={})
        await until(lambda: _report(engine, registry).requests == 20)
        assert (await evaluator.status())["outages"] > 0


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


@pytest.fixture
def small_ray() -> Iterator[None]:
    # Sockets lie below it, whose paths must stay under 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        ray.init(
            num_cpus=2,
            object_store_memory=80 * 1024 * 1024,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=temp,
        )
        yield
        ray.shutdown()


@pytest.mark.e2e
@pytest.mark.usefixtures("small_ray")
async def test_a_shadow_in_its_own_process_is_compared_and_replaced_when_it_dies(
    tmp_path: Path,
    engine: Engine,
    registry: Registry,
    decisions: list[Decision],
    bundles: tuple[Bundle, Bundle],
) -> None:
    evidence = Evidence(str(tmp_path / "evidence"))
    evidence.append(decisions[:10], through={})

    def payloads() -> int:
        shadow = _report(engine, registry).shadow
        assert shadow is not None
        return shadow.payloads

    async with running(_config(tmp_path)) as evaluator:
        await until(lambda: payloads() == 5, 60)
        os.kill((await evaluator.status())["shadows"]["mlp"]["pid"], signal.SIGKILL)
        evidence.append(decisions[10:], through={})
        await until(lambda: payloads() == 10, 60)
        status = await evaluator.status()

    assert status["shadows"]["mlp"]["restarts"] == 1
    shadow = _report(engine, registry).shadow
    assert shadow is not None
    runtime, signature = open_runtime(bundles[1]), bundles[1].manifest.signature
    agreeing = 0
    for n, decision in enumerate(decisions):
        if decision.payload is not None:
            rows = mlp.ordinary_rows(3, np.random.default_rng(n))
            answer = predicted(runtime.predict({"features": rows}), signature)
            agreeing += int((answer == np.array(decision.predicted)).sum())
    assert (shadow.agreement.hits, shadow.agreement.n) == (agreeing, 30)
    assert 0 < agreeing < 30
