"""A shadow answers what it can, and whatever happens to it harms nobody."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from gateway.evaluate import shadows
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import ShadowReport, report
from gateway.evaluate.shadow import ShadowModel
from gateway.evaluate.shadows import Shadow, ShadowLostError, ShadowProcess, ShadowRef
from gateway.record.decision import JUDGED_ROWS_MAX, Decision, Payload, Tensor
from gateway.record.evidence import Evidence
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.errors import BundleError, RuntimeFailedError
from models.examples import mlp
from models.prediction import predicted
from models.runtime.catalog import open_runtime
from models.runtime.protocol import Runtime, Tensors
from tests.gateway.evaluate.decisions import decide, payload_of


def _rows(count: int, seed: int = 0) -> np.ndarray:
    return mlp.ordinary_rows(count, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def model(bundles: tuple[Bundle, Bundle]) -> ShadowModel:
    return ShadowModel(bundles[1].path, bundles[1].digest)


def test_it_answers_as_the_same_bundle_does_when_it_serves(
    model: ShadowModel, bundles: tuple[Bundle, Bundle]
) -> None:
    batches = [_rows(count, seed=count) for count in (1, 7, 300, 2)]
    runtime = open_runtime(bundles[1])

    answers = model.predict([payload_of(rows) for rows in batches])
    for rows, answer in zip(batches, answers, strict=True):
        served = predicted(runtime.predict({"features": rows}), bundles[1].manifest.signature)
        assert answer == served.tolist()


def test_it_keeps_as_many_rows_as_the_record_does(model: ShadowModel) -> None:
    (answer,) = model.predict([payload_of(_rows(JUDGED_ROWS_MAX + 1))])

    assert answer is not None
    assert len(answer) == JUDGED_ROWS_MAX


@pytest.mark.parametrize(
    "broken",
    [
        Payload((), ()),
        b"not msgpack",
        payload_of(_rows(1)[:, :3]),
        payload_of(_rows(1), name="redacted"),
        Payload((Tensor("features", "FP32", (2, 30), b"\0" * 8),), ()),
        Payload((Tensor("features", "BYTES", (1, 30), b""),), ()),
    ],
)
def test_a_payload_it_cannot_answer_takes_no_other_with_it(
    model: ShadowModel, broken: Payload | bytes
) -> None:
    good = msgspec.msgpack.encode(payload_of(_rows(1)))

    first, middle, last = model.predict([good, broken, good])
    assert middle is None
    assert first is not None
    assert first == last


class Picky:
    """A runtime that fails on NaN, as some models do."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def predict(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        if np.isnan(inputs["features"]).any():
            raise RuntimeFailedError("mlp", "it refused the rows")
        return self._runtime.predict(inputs)


def test_rows_that_the_model_fails_on_take_no_other_with_them(
    bundles: tuple[Bundle, Bundle],
) -> None:
    model = ShadowModel(bundles[1].path, bundles[1].digest)
    model._runtime = Picky(model._runtime)
    good, bad = payload_of(_rows(2)), payload_of(np.full((1, 30), np.nan))

    answers = model.predict([good, bad, good])
    assert answers == [*model.predict([good]), None, *model.predict([good])]
    assert answers[0] is not None


def test_another_bundle_than_the_registered_one_is_not_loaded(
    bundles: tuple[Bundle, Bundle],
) -> None:
    with pytest.raises(BundleError):
        ShadowModel(bundles[1].path, bundles[0].digest)


class InThisProcess:
    """A `ShadowProcess` without a process: it "dies" where a real one would crash."""

    def __init__(self, model: ShadowModel, *, poison: bytes | None, losses: list[int]) -> None:
        self._model = model
        self._poison = poison
        self._losses = losses  # batch sizes that were lost

    async def load(self) -> int:
        return os.getpid()

    async def predict(self, payloads: Sequence[bytes]) -> list[list[float] | None]:
        if self._poison is not None and any(self._poison in payload for payload in payloads):
            self._losses.append(len(payloads))
            raise ShadowLostError("its process died")
        return self._model.predict(payloads)

    def stop(self) -> None:
        pass


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


Launch = Callable[[ShadowRef], Awaitable[ShadowProcess]]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(str(tmp_path / "evidence"))


def _follower(
    launch: Launch, evidence: Evidence, engine: Engine, executor: ThreadPoolExecutor
) -> Shadow:
    ref = ShadowRef("mlp", "2", "sha256:abc", decide(1).arrived_ns)
    return Shadow(
        ref,
        evidence,
        judgements=Judgements(engine),
        launch=launch,
        executor=executor,
        poll_s=0.01,
    )


@asynccontextmanager
async def _running(shadow: Shadow) -> AsyncIterator[None]:
    task = asyncio.create_task(shadow.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def _captured(count: int) -> list[Decision]:
    return [decide(n, payload=payload_of(_rows(2, seed=n)), rows=2) for n in range(count)]


def _shadow_report(engine: Engine, registry: Registry) -> ShadowReport:
    found = report(engine, registry, "mlp", alpha=0.05).shadow
    assert found is not None
    return found


async def test_it_follows_what_arrived_since_it_became_the_shadow(
    model: ShadowModel,
    evidence: Evidence,
    engine: Engine,
    registry: Registry,
    executor: ThreadPoolExecutor,
) -> None:
    async def launch(_: ShadowRef) -> ShadowProcess:
        return InThisProcess(model, poison=None, losses=[])

    decisions = _captured(6)
    evidence.append(decisions, through={})
    Judgements(engine).record(decisions)
    shadow = _follower(launch, evidence, engine, executor)
    async with _running(shadow):
        await _until(lambda: shadow.status.answered == 5)  # the first came before

    again = _follower(launch, evidence, engine, executor)
    async with _running(again):
        await _until(lambda: again.status.state == "ready")
        await asyncio.sleep(0.1)
    assert again.status.answered == 0  # it goes on where the other one was
    assert _shadow_report(engine, registry).payloads == 5


async def test_a_payload_that_kills_the_process_is_given_up_alone(
    model: ShadowModel,
    evidence: Evidence,
    engine: Engine,
    registry: Registry,
    executor: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadows, "BACK_OFF_S", (0.0,))
    decisions = _captured(12)
    poison = decisions[7].payload
    assert poison is not None
    losses: list[int] = []

    async def launch(_: ShadowRef) -> ShadowProcess:
        return InThisProcess(model, poison=poison.inputs[0].data, losses=losses)

    evidence.append(decisions, through={})
    Judgements(engine).record(decisions)
    shadow = _follower(launch, evidence, engine, executor)
    async with _running(shadow):
        await _until(lambda: shadow.status.answered == 10)

    assert shadow.status.failed == 1
    assert losses[-1] == 1
    assert _shadow_report(engine, registry).failed == 1


async def test_a_model_that_does_not_load_is_told_with_its_reason(
    evidence: Evidence, engine: Engine, executor: ThreadPoolExecutor
) -> None:
    async def launch(_: ShadowRef) -> ShadowProcess:
        raise BundleError("mlp", "digests differ")

    shadow = _follower(launch, evidence, engine, executor)
    async with _running(shadow):
        await _until(lambda: shadow.status.state == "failed")

    assert shadow.status.reason == "bundle mlp: digests differ"


async def test_evidence_that_is_gone_counts_as_failed_and_does_not_stop_it(
    model: ShadowModel, evidence: Evidence, engine: Engine, executor: ThreadPoolExecutor
) -> None:
    async def launch(_: ShadowRef) -> ShadowProcess:
        return InThisProcess(model, poison=None, losses=[])

    decisions = _captured(4)
    evidence.append(decisions[2:], through={})
    Judgements(engine).record(decisions)
    shadow = _follower(launch, evidence, engine, executor)
    async with _running(shadow):
        await _until(lambda: shadow.status.answered == 2)

    assert shadow.status.failed == 1
