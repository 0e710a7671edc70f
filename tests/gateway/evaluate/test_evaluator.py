"""From spans and evidence to the report, through the whole evaluator."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

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
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import Report, report
from gateway.record.decision import Decision, Stages
from gateway.record.evidence import Evidence
from gateway.record.spans import SpanReplay
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.examples import mlp
from models.prediction import predicted
from models.runtime.catalog import open_runtime

NEVER_S = 3600.0


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
