"""Measures of rankings, from rewards to the report and its expectations."""

import io
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.evaluate.loop_state import LoopState
from gateway.registry.loop import LoopStore
from guards.quality.expectation import State
from guards.quality.ranked_sums import RankedSums
from tests.gateway.evaluate.choices import slate
from tests.gateway.evaluate.test_loop_watch import PER_WINDOW, World, _reward
from tests.gateway.evaluate.test_performance import named

PROMISED = {"ndcg": 0.7, "reciprocal_rank": 0.3, "hit_rate": 0.5}


@pytest.fixture
def world(engine: Engine, database_url: str, tmp_path: Path) -> World:
    return World(engine, database_url, tmp_path, slate(), expectations=PROMISED)


def test_before_a_window_is_over_nothing_is_known_of_rankings(world: World) -> None:
    assert "no rewards yet" in named(world.report(), "ndcg").reason


def test_rewards_in_the_first_slot_keep_every_promise(world: World) -> None:
    for window in range(3):
        _reward(world, world.serve(window)[: PER_WINDOW * 9 // 10])
    world.tick(3)

    found = world.report()

    told = {one.metric: one for one in found.performance}
    assert told["hit_rate"].n == 3 * PER_WINDOW
    assert told["hit_rate"].estimate == told["reciprocal_rank"].estimate == 0.9
    assert told["ndcg"].estimate == 1.0
    assert {named(found, name).state for name in PROMISED} == {State.HOLDS}


def test_rewards_far_down_break_the_promise_about_their_place(world: World) -> None:
    for window in range(3):
        _reward(world, world.serve(window), slot=2)
    world.tick(3)

    found = world.report()

    assert named(found, "ndcg").state is State.VIOLATED
    assert named(found, "hit_rate").state is State.HOLDS


def test_a_state_of_before_begins_to_count_rankings(world: World) -> None:
    requests = world.serve(0)
    _reward(world, requests)
    world.tick()
    stored = LoopStore(world.url).state("feed")
    assert stored is not None
    with np.load(io.BytesIO(stored)) as held:
        arrays = {name: held[name] for name in held.files if not name.startswith("ranked.")}
    old = io.BytesIO()
    np.savez(old, **arrays)

    again = LoopState.from_bytes(old.getvalue())

    assert again.ranked == RankedSums()
    assert again.confirmed == LoopState.from_bytes(stored).confirmed
