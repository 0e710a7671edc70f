"""Requests share a batch and nothing else."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from gateway.serving.cost import RETRY_NS
from gateway.serving.item import Item
from models.bundle import Bundle
from models.signing import SigningKey
from tests.gateway.serving.conftest import table
from tests.gateway.serving.poison import build_lookup

POISON = 1e6  # far outside the lookup table


@pytest.fixture(scope="module")
def lookups(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey
) -> tuple[Bundle, Bundle, Bundle]:
    """Version 1; version 2, which falls back to 1; version 3, which has no ladder."""
    root = Path(tmp_path_factory.mktemp("lookup"))
    return (
        build_lookup(root, key, version="1"),
        build_lookup(root, key, version="2", fallback="1"),
        build_lookup(root, key, version="3"),
    )


def ask(client: httpx.AsyncClient, places: list[float], **fields: Any) -> Any:
    """Ask about ``places`` in one request."""
    tensor = {"name": "place", "shape": [len(places), 1], "datatype": "FP32", "data": places}
    return client.post("/infer", content=orjson.dumps({"inputs": [tensor], **fields}))


def values(response: httpx.Response) -> list[float]:
    """Read the answer."""
    found: list[float] = response.json()["outputs"][0]["data"]
    return found


@pytest.mark.parametrize("poisoned", [{0}, {7, 12}, set(range(1, 32)), set(range(32))])
async def test_a_poison_row_never_fails_its_batch_mates(
    serve: Any, lookups: tuple[Bundle, ...], poisoned: set[int]
) -> None:
    served = await serve(lookups[2])
    places = [POISON if i in poisoned else float(i % 8) for i in range(32)]

    responses = await asyncio.gather(*(ask(served.client, [place]) for place in places))

    assert max(decision.batch_rows for decision in served.kept.decisions) == 32
    for i, response in enumerate(responses):
        if i in poisoned:
            assert response.status_code == 500
            assert response.json()["code"] == "unanswered"
        else:
            assert values(response) == [i % 8 + 3.0]


async def test_a_failing_model_falls_back_to_the_version_before_or_to_the_constant(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[1], lookups[0])

    good, poison = await asyncio.gather(ask(served.client, [3.0]), ask(served.client, [POISON]))

    assert values(good) == [5.0]
    parameters = poison.json()["parameters"]
    # Version 1 fails on the same row, so the next rung answers.
    assert parameters["served_by"] == "fallback:constant"
    assert parameters["fallback_reason"] == "model_error"
    assert values(poison) == [-1.0]


async def test_a_full_queue_is_answered_by_the_version_that_is_kept_warm(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[1], lookups[0], max_queued_rows=4)

    responses = await asyncio.gather(*(ask(served.client, [1.0]) for _ in range(40)))

    by = {r.json()["parameters"]["served_by"] for r in responses}
    assert all(response.status_code == 200 for response in responses)
    assert by == {"model", "fallback:version"}
    for response in responses:
        is_model = response.json()["parameters"]["served_by"] == "model"
        assert values(response) == [3.0 if is_model else 2.0]


async def test_a_full_queue_without_a_ladder_sheds_with_retry_after(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[2], max_queued_rows=4)

    responses = await asyncio.gather(*(ask(served.client, [1.0]) for _ in range(40)))

    shed = [response for response in responses if response.status_code == 503]
    assert shed
    assert all(int(response.headers["retry-after"]) >= 1 for response in shed)
    assert all(response.json()["code"] == "shed" for response in shed)


async def test_requests_with_one_id_never_get_each_others_answers(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[2], inline_below_us=0)  # on the inference thread
    places = np.random.default_rng(0).integers(0, 8, size=500)

    responses = await asyncio.gather(
        *(ask(served.client, [float(place)], id=str(i % 10)) for i, place in enumerate(places))
    )

    for i, (place, response) in enumerate(zip(places, responses, strict=True)):
        assert response.json()["id"] == str(i % 10)
        assert values(response) == [place + 3.0]


async def test_a_switch_changes_the_answering_version_between_requests_only(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[0], lookups[2])
    before = values(await ask(served.client, [1.0]))

    revision = await served.versions.apply(table(lookups[0], lookups[2], live=1, revision=2))
    after = values(await ask(served.client, [1.0]))
    stale = await served.versions.apply(table(lookups[0], lookups[2], live=0, revision=1))

    assert (before, after) == ([2.0], [4.0])
    assert (revision, stale) == (2, 2)


async def test_a_version_that_does_not_load_leaves_the_old_table_in_charge(
    serve: Any, lookups: tuple[Bundle, ...], tmp_path: Path
) -> None:
    served = await serve(lookups[0])
    broken = table(lookups[0], lookups[2], live=1, revision=2)

    with pytest.raises(KeyError):  # the store of this test does not know the bundle
        await served.versions.apply(broken)

    assert values(await ask(served.client, [1.0])) == [2.0]
    assert served.versions.view.table.revision == 1


async def test_work_that_cannot_finish_is_not_started_and_a_model_called_slow_is_tried_again(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[1], lookups[0], inline_below_us=0)
    await ask(served.client, [1.0])
    for _ in range(64):
        served.versions.view.live.cost.model.observe(1, 10**9)  # a batch takes a second now

    late = await ask(served.client, [1.0], parameters={"timeout": 50_000})
    await asyncio.sleep(RETRY_NS / 1e9)
    tried = await ask(served.client, [1.0], parameters={"timeout": 50_000})

    assert late.json()["parameters"]["fallback_reason"] == "deadline"
    assert tried.json()["parameters"]["served_by"] == "model"


async def test_a_busy_device_keeps_nobody_beyond_the_deadline(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[0])
    quick = served.versions.view.live
    slow = replace(quick, runtime=SlowRuntime(quick.runtime), model_ns=1e12)
    table_, batcher = served.versions.view.table, served.batcher

    def item(name: str) -> Item:
        return Item(name, {"place": np.zeros((1, 1), np.float32)}, 1)

    now_ns = time.perf_counter_ns()
    long = asyncio.create_task(batcher.submit(slow, table_, item("a"), now_ns + 10**10))
    await asyncio.sleep(0.05)  # it is on the thread now
    late = await batcher.submit(quick, table_, item("b"), time.perf_counter_ns() + 5 * 10**7)
    waited_ns = time.perf_counter_ns() - now_ns

    assert late is None
    assert waited_ns < SlowRuntime.SLEEP_S * 1e9
    assert (await long).outputs is not None


async def test_a_failure_inside_the_gateway_reaches_its_callers_and_the_queue_goes_on(
    serve: Any, lookups: tuple[Bundle, ...]
) -> None:
    served = await serve(lookups[2])
    live = served.versions.view.live
    broken = replace(live, chain=BrokenChain())
    item = Item("a", {"place": np.zeros((1, 1), np.float32)}, 1)
    forever = time.perf_counter_ns() + 10**12

    with pytest.raises(ZeroDivisionError):
        await served.batcher.submit(broken, served.versions.view.table, item, forever)

    assert values(await ask(served.client, [1.0])) == [4.0]


class SlowRuntime:
    """A model that takes its time."""

    SLEEP_S = 0.6

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        time.sleep(self.SLEEP_S)
        return self._runtime.predict(inputs)


class BrokenChain:
    """Fails where nothing should."""

    optional = ()

    def check_schema(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError
