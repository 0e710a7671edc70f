"""Every row is counted, whatever became of it, and counting never costs an answer."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.record.traffic import unpack_counts
from gateway.serving.traffic import FOLD_ROWS, OVERDUE, Seen, TrafficCounts
from guards.drift.cells import MISSING
from models.bundle import Bundle, load_watched
from models.examples import mlp
from models.signing import SigningKey
from models.traffic import Watched


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return mlp.build_mlp(Path(tmp_path_factory.mktemp("mlp")), key)


@pytest.fixture(scope="module")
def watched(bundle: Bundle) -> Watched:
    found = load_watched(bundle)
    assert found is not None
    return found


def _ask(client: Any, rows: np.ndarray) -> Any:
    data = [None if np.isnan(v) else float(v) for v in rows.ravel()]
    tensor = {"name": "features", "shape": list(rows.shape), "datatype": "FP32", "data": data}
    return client.post("/infer", content=orjson.dumps({"inputs": [tensor]}))


async def test_every_row_of_every_request_is_counted(serve: Any, bundle: Bundle) -> None:
    served = await serve(bundle)
    rows = mlp.ordinary_rows(120, np.random.default_rng(0))

    answers = await asyncio.gather(*(_ask(served.client, part) for part in np.split(rows, 40)))

    assert {answer.status_code for answer in answers} == {200}
    counts = served.versions.view.live.traffic.totals()
    assert {name: set(c.sum(axis=1)) for name, c in counts.items()} == {
        "features": {120},
        "reject_rate": {120},
        "outputs": {120},
    }


async def test_what_is_missing_or_rejected_is_counted_too(serve: Any, bundle: Bundle) -> None:
    """Trap: an outage that is dropped before it is counted is invisible."""
    served = await serve(bundle)
    traffic = served.versions.view.live.traffic
    rows = mlp.ordinary_rows(4, np.random.default_rng(0))
    rows[0, 5] = np.nan
    raw = {"name": "features", "shape": [4, 30], "datatype": "FP32"}
    header = orjson.dumps({"inputs": [raw | {"parameters": {"binary_data_size": 480}}]})

    answer = await served.client.post(
        "/infer",
        content=header + rows.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )

    assert answer.status_code == 422
    counts = traffic.totals()
    assert counts["features"][5, MISSING] == 1
    assert counts["features"][-1].tolist().count(0) == 35  # both an orderly row and a violation
    assert counts["features"][0].sum() == 4
    assert counts["outputs"].sum() == 0  # the model was asked nothing


def _seen(rows: np.ndarray, **changes: Any) -> Seen:
    plain: dict[str, Any] = {
        "inputs": {"features": rows.astype(np.float32)},
        "strange": (),
        "p_values": np.full(len(rows), 0.5),
        "outputs": {"probabilities": np.full((len(rows), 2), 0.5, np.float32)},
    }
    return Seen(**plain | changes)


def test_one_by_one_and_in_batches_the_counts_are_the_same(
    bundle: Bundle, watched: Watched
) -> None:
    rows = mlp.ordinary_rows(600, np.random.default_rng(1))
    alone, together = (TrafficCounts(watched, bundle.manifest) for _ in range(2))

    for row in rows:
        alone.observe(_seen(row[None]), now_ns=0)
    together.observe(_seen(rows), now_ns=0)

    for name, counts in alone.totals().items():
        np.testing.assert_array_equal(counts, together.totals()[name])


def test_a_record_holds_totals_and_comes_only_when_there_is_something_new(
    bundle: Bundle, watched: Watched
) -> None:
    traffic = TrafficCounts(watched, bundle.manifest)
    rows = mlp.ordinary_rows(10, np.random.default_rng(1))
    assert traffic.record("mlp", "1", "d") is None

    traffic.observe(_seen(rows), now_ns=0)
    first = traffic.record("mlp", "1", "d")
    assert traffic.record("mlp", "1", "d") is None
    traffic.observe(_seen(rows), now_ns=0)
    second = traffic.record("mlp", "1", "d")

    assert first is not None
    assert second is not None
    assert second.values == 2 * first.values
    assert second.epoch == first.epoch
    np.testing.assert_array_equal(
        unpack_counts(second.counts["features"]), 2 * unpack_counts(first.counts["features"])
    )


def test_rows_of_one_entity_count_once_a_second(bundle: Bundle, watched: Watched) -> None:
    """Trap: one tenant dominates."""
    drift = bundle.manifest.guards.drift.model_copy(update={"entity": "features"})
    guards = bundle.manifest.guards.model_copy(update={"drift": drift})
    traffic = TrafficCounts(watched, bundle.manifest.model_copy(update={"guards": guards}))
    row = mlp.ordinary_rows(1, np.random.default_rng(2))

    for now_s in (0.1, 0.2, 0.9, 1.1):
        traffic.observe(_seen(np.repeat(row, 50, axis=0)), now_ns=int(now_s * 1e9))

    assert {int(counts.sum(axis=1)[0]) for counts in traffic.totals().values()} == {2}


def test_a_failure_to_count_is_noted_and_fails_nobody(bundle: Bundle, watched: Watched) -> None:
    traffic = TrafficCounts(watched, bundle.manifest)
    rows = mlp.ordinary_rows(300, np.random.default_rng(3))

    traffic.observe(_seen(rows, inputs={"features": rows[:, :3]}), now_ns=0)
    traffic.fold()
    traffic.observe(_seen(rows), now_ns=0)

    assert traffic.failures == 1
    assert traffic.totals()["features"].sum(axis=1)[0] == 300


async def test_what_was_answered_is_counted_soon_and_behind_the_answers(
    serve: Any, bundle: Bundle
) -> None:
    served = await serve(bundle)
    traffic = served.versions.view.live.traffic
    rows = mlp.ordinary_rows(4, np.random.default_rng(0))

    for _ in range(63):
        await _ask(served.client, rows)
    assert not traffic.is_due
    await _ask(served.client, rows)
    await asyncio.sleep(0.01)

    assert not traffic.is_due  # 256 rows came, and nobody had to ask for the counts
    assert traffic.totals()["features"].sum(axis=1)[0] == 256


def test_counts_are_made_even_if_nobody_folds(bundle: Bundle, watched: Watched) -> None:
    traffic = TrafficCounts(watched, bundle.manifest)
    row = mlp.ordinary_rows(1, np.random.default_rng(3))

    for _ in range(FOLD_ROWS):
        traffic.observe(_seen(row), now_ns=0)
    assert traffic.is_due
    for _ in range((OVERDUE - 1) * FOLD_ROWS):
        traffic.observe(_seen(row), now_ns=0)

    assert not traffic.is_due
