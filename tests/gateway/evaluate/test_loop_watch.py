"""The watch of a feedback loop: from evidence and feedback to the report, across restarts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.errors import ConflictError
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.loop_report import LoopReport
from gateway.evaluate.loop_state import LoopState
from gateway.evaluate.loop_watch import LoopWatch
from gateway.evaluate.report import Report, report
from gateway.record.decision import Decision
from gateway.record.evidence import Evidence
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.loop import LoopStore, read_loop
from gateway.registry.registry import Registry
from guards.explore.settings import SlateExplore
from models.signing import SigningKey
from tests.gateway.evaluate.choices import rank_items, rewards_of, shown_of, slate, store_at
from tests.gateway.evaluate.decisions import ARRIVED_NS
from tests.rankings import build_ranking

WINDOW_S = 60
FEEDBACK = {"window_s": 600, "grace_s": 60}
LOOP = {"window_s": WINDOW_S, "least": 5, "patience": 2, "scores_are_rewards": True}
PER_WINDOW = 60
LATER_NS = ARRIVED_NS + 10**13


class World:
    """A ranking model, its evidence, and a clock."""

    def __init__(
        self, engine: Engine, url: str, root: Path, explore: SlateExplore, **changes: Any
    ) -> None:
        self.engine, self.url, self.root = engine, url, root
        self.registry = Registry(engine, ArtifactStore(f"file://{root}/artifacts"))
        key = SigningKey.create()
        bundle = build_ranking(root, key, explore, feedback=FEEDBACK, loop=LOOP, **changes)
        self.registry.register(bundle, as_="live", trust_code=False, who="test")
        self.explore = explore
        self.now_ns = LATER_NS

    def serve(self, window: int, *, n: int = PER_WINDOW, first_item: int = 100) -> list[Decision]:
        """Serve rankings within one loop window, and commit them there."""
        made = rank_items(n, self.explore, seed=window, first=window * 10_000)
        start_ns = ARRIVED_NS + window * WINDOW_S * 10**9
        decided = [
            msgspec.structs.replace(
                one, model="feed", arrived_ns=start_ns + k, exploration=_shifted(one, first_item)
            )
            for k, one in enumerate(made)
        ]
        committed = Evidence(str(self.root / "evidence"), clock_ns=lambda: start_ns + 10**9)
        committed.append(decided, through={})
        return decided

    def watch(self) -> LoopWatch:
        """A new one: it knows what is stored."""
        return LoopWatch(
            self.engine,
            self.registry,
            Evidence(str(self.root / "evidence")),
            LoopStore(self.url),
            clock_ns=lambda: self.now_ns,
        )

    def tick(self, times: int = 1) -> int:
        return sum(self.watch().tick() for _ in range(times))

    def loop(self) -> LoopReport | None:
        with self.engine.connect() as connection:
            told = read_loop(connection, "feed")
        return None if told is None else LoopReport.model_validate_json(told)

    def report(self) -> Report:
        return report(self.engine, self.registry, "feed", alpha=0.05)


def _shifted(request: Decision, first_item: int) -> object:
    assert request.exploration is not None
    ids = np.frombuffer(request.exploration.ids, "<i8") - 100 + first_item
    return msgspec.structs.replace(request.exploration, ids=ids.tobytes())


@pytest.fixture
def world(engine: Engine, database_url: str, tmp_path: Path) -> World:
    return World(engine, database_url, tmp_path, slate())


def _reward(world: World, requests: Sequence[Decision], *, slot: int = 0) -> None:
    row = [float(place == slot) for place in range(3)]
    store_at(world.url, after_s=400).add("feed", rewards_of(requests, [row] * len(requests)))


def test_a_window_is_reported_on_once_its_feedback_is_in_and_not_before(world: World) -> None:
    requests = world.serve(0)
    _reward(world, requests[:30])
    end_ns = ARRIVED_NS + WINDOW_S * 10**9
    world.now_ns = end_ns + 660 * 10**9 - 1
    assert (world.tick(), world.loop()) == (0, None)

    world.now_ns += 1
    assert world.tick() == 1
    found = world.loop()

    assert found is not None
    assert (found.decisions, found.joined, found.confirmed) == (PER_WINDOW, 30, 0)
    assert (found.start_s, found.end_s) == (ARRIVED_NS / 1e9, end_ns / 1e9)
    assert found.items == 7  # the eighth is sold out
    shown = [0] * 8
    for request in requests:
        for place in request.exploration.served:  # type: ignore[union-attr]
            shown[place] += 1
    assert found.coverage == pytest.approx(sum(n >= 5 for n in shown[:7]) / 7)
    assert 0 < (found.explored_label_share or 0) < 1
    assert found.effective_labels > 1


def test_later_windows_know_the_history_and_newcomers_are_judged(world: World) -> None:
    world.serve(0)
    world.serve(1)
    for window in range(2, 5):  # other items from now on
        world.serve(window, first_item=200)
    assert world.tick() == 5

    found = world.loop()
    assert found is not None
    assert (found.window, found.newcomers) == (5, 7)
    assert found.newcomers_reached == 7  # exploring gives each of seven its chance
    assert found.popularity_lift is not None
    assert sum(bucket.impressions for bucket in found.hit_rates) == 3 * PER_WINDOW


def test_restarts_and_repeated_ticks_change_nothing(
    engine: Engine, tmp_path: Path, world: World
) -> None:
    for window in range(3):
        requests = world.serve(window)
        _reward(world, requests[::2])
    for moment in range(40):  # the clock goes on bit by bit, and each tick is another evaluator's
        world.now_ns = ARRIVED_NS + (600 + moment * 17) * 10**9
        world.tick()
    stepwise = world.loop()
    at_once = LoopStore(f"sqlite:///{tmp_path}/other.db")
    evidence = Evidence(str(tmp_path / "evidence"))
    LoopWatch(engine, world.registry, evidence, at_once, clock_ns=lambda: LATER_NS).tick()

    assert stepwise is not None
    assert stepwise.window == 3
    assert LoopStore(world.url).signals() == at_once.signals()
    assert LoopStore(world.url).state("feed") == at_once.state("feed")


def test_windows_without_a_choice_leave_no_trace_and_cost_nothing(world: World) -> None:
    world.serve(0)
    world.serve(100)

    assert world.tick(3) == 2
    found = world.loop()
    assert found is not None
    assert found.window == 2
    assert world.tick() == 0


def test_the_state_survives_as_bytes(world: World) -> None:
    world.serve(0)
    world.tick()
    content = LoopStore(world.url).state("feed")

    assert content is not None
    state = LoopState.from_bytes(content)
    assert LoopState.from_bytes(state.to_bytes()).to_bytes() == state.to_bytes()
    assert state.catalogue.windows == 1


def test_a_greedy_loop_that_starves_new_items_sounds_the_alarm(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    world = World(engine, database_url, tmp_path, slate(policy={"kind": "greedy"}, slots=1))
    for window in range(9):  # new items all the time, and each is shown less than five times
        world.serve(window, n=10, first_item=100 + 10 * window)
    world.tick()

    found = world.loop()
    assert found is not None
    assert found.loop_alarm
    assert "new items" in found.reasons[0]
    state = {e.name: e.state for e in world.report().expectations}
    assert (state["new_items_shown"], state["shown_as_drawn"]) == ("violated", "unknown")


def test_exploring_that_is_replaced_downstream_is_alarmed_and_otherwise_not(world: World) -> None:
    honest = [shown_of(request) for request in world.serve(0, n=400)]
    store_at(world.url, after_s=400).add("feed", honest)
    world.tick()
    before = world.loop()

    vetoed = []
    for request in world.serve(1, n=400):
        drawn = request.exploration
        assert drawn is not None
        ids = np.frombuffer(drawn.ids, "<i8")
        vetoed.append(shown_of(request, served=[int(ids[place]) for place in drawn.greedy]))
    store_at(world.url, after_s=400).add("feed", vetoed)
    world.tick()
    after = world.loop()

    assert before is not None
    assert after is not None
    assert not before.override_alarm
    assert after.override_alarm
    assert (before.overridden, after.ever_confirmed) == (0, 800)
    told = {e.name: e for e in world.report().expectations}["shown_as_drawn"]
    assert told.state == "violated"
    assert "replaced downstream" in told.reason
    [signal] = LoopStore(world.url).signals()
    assert signal.override_alarm
    assert signal.measures["overridden_share"] > 0.3


def test_the_report_keeps_late_orphaned_repeated_and_contradicting_feedback_apart(
    world: World,
) -> None:
    requests = world.serve(0, n=4)
    Judgements(world.engine).record(requests)
    good, late, orphan, other = (rewards_of([one], [[1, 0, 0]])[0] for one in requests)
    store = store_at(world.url, after_s=400)
    store.add("feed", [good])
    store.add("feed", [good])
    store_at(world.url, after_s=661).add("feed", [late])
    store.add("feed", [msgspec.structs.replace(orphan, prediction_id="f" * 32)])
    store.add("feed", [other])
    with pytest.raises(ConflictError):
        store.add("feed", [msgspec.structs.replace(other, reward=0.5)])

    found = world.report().feedback
    assert found is not None
    assert (found.in_time, found.late, found.orphans) == (2, 1, 1)
    assert (found.duplicates, found.contradicting) == (1, 1)
    assert (found.window_s, found.grace_s, found.default_reward) == (600, 60, 0)
