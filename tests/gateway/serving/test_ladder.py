"""Which rung answers, and when: any ladder, any time left."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry.routing import RoutingTable, VersionRef
from gateway.serving.answer_cache import AnswerCache
from gateway.serving.chooser import Decided
from gateway.serving.cost import RETRY_NS, BatchCost
from gateway.serving.item import Item, Judged, Stamps
from gateway.serving.ladder import LAST_NS, SHARE, Fallback, Ladder
from gateway.serving.versions import LoadedVersion, View, load_version
from guards.explore.choices import certain
from guards.explore.decider import Question
from guards.verdict import Reason, Verdict
from models.manifest import CacheRung, ConstantRung, ModelRung, VersionRung
from tests.gateway.registry.bundles import make_bundle

MS = 1_000_000
ITEM = Item("id", {"x": np.zeros((1, 2), np.float32)}, 1, fingerprint=b"same inputs")
STAMPS = Stamps(1, 1, 2, 3, 0)
GOOD = Judged(STAMPS, {"y": np.ones((1, 1), np.float32)}, np.ones(1), (), None, None, "", False)


@dataclass
class Clock:
    """Time that passes when a device works."""

    ns: int = 0

    def __call__(self) -> int:
        return self.ns


@dataclass
class Device:
    """Stands where a batcher stands: answers after a while, gives up at the limit, or fails."""

    clock: Clock
    wait_ns: int
    took_ns: dict[str, int] = field(default_factory=dict)  # by runtime, which is its name here
    fails: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def predicted_wait_ns(self, version: LoadedVersion) -> float:
        return self.wait_ns

    async def submit(
        self, version: LoadedVersion, table: RoutingTable, item: Item, deadline_ns: int
    ) -> Judged | None:
        assert item.is_fallback
        name = str(version.runtime)
        self.asked.append(name)
        took_ns = self.wait_ns + self.took_ns.get(name, 0)
        if self.clock.ns + took_ns > deadline_ns:
            self.clock.ns = max(self.clock.ns, deadline_ns)
            return None
        self.clock.ns += took_ns
        failure = self.fails.get(name)
        if failure == "raises":
            raise ZeroDivisionError
        if failure == "refused":
            return replace(GOOD, outputs=None, predicted=None, stop="output")
        return GOOD


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """A version whose ladder each test replaces."""
    bundle = make_bundle(Path(tmp_path_factory.mktemp("ladder")) / "toy")
    return load_version(VersionRef("1", bundle.digest), bundle.path, salt=b"salt")


def named(version: LoadedVersion, name: str, cost_ns: int) -> LoadedVersion:
    """Build a version that answers under ``name`` and is known to take ``cost_ns``."""
    cost = BatchCost()
    cost.model.observe(1, cost_ns)
    return replace(version, runtime=name, cost=cost)  # type: ignore[arg-type]


@dataclass
class Case:
    """A ladder, what its rungs are known to take and really take, and the time left."""

    rungs: list[str]
    known_ns: dict[str, int]
    took_ns: dict[str, int]
    fails: dict[str, str]
    wait_ns: int
    left_ns: int
    is_cached: bool


names = st.sampled_from(
    ["version:2", "version:3", "version:1", "version:gone", "model:a", "model:b"]
)
durations = st.integers(0, 20 * MS)
cases = st.builds(
    Case,
    rungs=st.lists(st.one_of(names, st.just("constant"), st.just("cache")), max_size=6).filter(
        lambda rungs: rungs.count("cache") < 2
    ),
    known_ns=st.dictionaries(names, durations),
    took_ns=st.dictionaries(names, durations),
    fails=st.dictionaries(names, st.sampled_from(["raises", "refused"]), max_size=2),
    wait_ns=st.integers(0, 3 * MS),
    left_ns=st.integers(-5 * MS, 30 * MS),
    is_cached=st.booleans(),
)


def rung_of(name: str) -> Any:
    use, _, which = name.partition(":")
    if use == "version":
        return VersionRung(version=which)
    if use == "model":
        return ModelRung(file=which)
    return CacheRung() if use == "cache" else ConstantRung(outputs={"y": [0.5]})


def climb(
    plain: LoadedVersion, case: Case, *, reason: str = ""
) -> tuple[Fallback | None, list[str], Device, Device, Clock]:
    """Let a ladder of ``case`` answer; the deadline is at ``case.left_ns``."""
    clock = Clock()

    def warm(name: str) -> LoadedVersion:
        return named(plain, name, case.known_ns.get(name, 0))

    cache = AnswerCache(entries=8, max_age_s=1.0, now_ns=clock)
    if case.is_cached:
        cache.put(ITEM.fingerprint, {"y": np.full((1, 1), 9.0, np.float32)})
    manifest = plain.manifest.model_copy(update={"fallback": tuple(map(rung_of, case.rungs))})
    rungs = {"a": warm("model:a"), "b": warm("model:b")}
    version = replace(warm("version:1"), manifest=manifest, rungs=rungs, cache=cache)
    loaded = {"1": version, "2": warm("version:2"), "3": warm("version:3")}
    refs = tuple(VersionRef(name, "digest") for name in loaded)
    view = View(RoutingTable("toy", 1, "1", refs), loaded)
    main = Device(clock, case.wait_ns, case.took_ns, case.fails)
    side = Device(clock, 0, case.took_ns, case.fails)
    ladder = Ladder(main, side, now_ns=clock)  # type: ignore[arg-type]
    answer, tried = asyncio.run(ladder.descend(view, version, ITEM, case.left_ns, reason=reason))
    return answer, tried, main, side, clock


def expected(case: Case) -> tuple[str, list[str]]:
    """Say who must answer, and who is asked on the way, from the rule as it is written down."""
    now_ns, asked = 0, []
    last_free = max((i for i, n in enumerate(case.rungs) if n in ("cache", "constant")), default=-1)
    for i, name in enumerate(case.rungs):
        if name == "constant" or (name == "cache" and case.is_cached):
            return name, asked
        if name in ("cache", "version:1", "version:gone"):
            continue
        limit_ns = case.left_ns
        if i < last_free:
            limit_ns -= min(LAST_NS, max(case.left_ns, 0) // SHARE)
        wait_ns = 0 if name.startswith("model") else case.wait_ns
        if now_ns + wait_ns + case.known_ns.get(name, 0) > limit_ns:
            continue
        asked.append(name)
        took_ns = wait_ns + case.took_ns.get(name, 0)
        if now_ns + took_ns > limit_ns:
            now_ns = max(now_ns, limit_ns)
            continue
        now_ns += took_ns
        if name not in case.fails:
            return name, asked
    return "", asked


@given(case=cases)
def test_the_first_rung_that_fits_answers_and_none_that_does_not_is_asked(
    plain: LoadedVersion, case: Case
) -> None:
    answer, tried, main, side, _ = climb(plain, case)

    who, asked = expected(case)
    assert ("" if answer is None else answer.served_by) == (
        f"fallback:{who.partition(':')[0]}" if who else ""
    )
    assert [n for n in asked if n.startswith("version")] == main.asked
    assert [n for n in asked if n.startswith("model")] == side.asked
    assert tried == [f"fallback:{name.partition(':')[0]}" for name in case.rungs[: len(tried)]]


@given(case=cases, constant=st.just("constant"))
def test_a_ladder_that_ends_in_a_constant_answers_always_and_in_time(
    plain: LoadedVersion, case: Case, constant: str
) -> None:
    case = replace(case, rungs=[*case.rungs, constant])

    answer, _, _, _, clock = climb(plain, case)

    assert answer is not None
    if case.left_ns >= 0:
        keep_ns = min(LAST_NS, case.left_ns // SHARE)
        assert clock.ns <= case.left_ns - keep_ns or answer.served_by != "fallback:constant"
        assert clock.ns <= case.left_ns


@given(case=cases)
def test_a_suspect_reaches_no_model_and_a_hung_thread_no_version(
    plain: LoadedVersion, case: Case
) -> None:
    _, _, main, side, _ = climb(plain, case, reason="crash_suspect")
    assert main.asked == side.asked == []

    _, _, main, _, _ = climb(plain, case, reason="hung")
    assert main.asked == []


@given(case=cases, budget_ns=st.integers(1, 200 * MS))
def test_who_comes_when_the_reserve_begins_finds_a_rung_that_fits(
    plain: LoadedVersion, case: Case, budget_ns: int
) -> None:
    case = replace(case, took_ns={}, fails={}, is_cached=True)
    manifest = plain.manifest.model_copy(update={"fallback": tuple(map(rung_of, case.rungs))})
    rungs = {name: named(plain, name, case.known_ns.get(f"model:{name}", 0)) for name in "ab"}
    version = replace(plain, manifest=manifest, rungs=rungs)
    loaded = {n: named(plain, n, case.known_ns.get(f"version:{n}", 0)) for n in "23"}
    view = View(RoutingTable("toy", 1, "1", ()), loaded | {"1": version})
    devices = Device(Clock(), case.wait_ns), Device(Clock(), 0)

    reserve_ns = Ladder(*devices).reserve_ns(  # type: ignore[arg-type]
        view, version, rows=1, budget_ns=budget_ns
    )

    assert 0 <= reserve_ns <= budget_ns // SHARE
    if reserve_ns:
        late = replace(case, left_ns=reserve_ns - min(LAST_NS, reserve_ns // 2))
        assert climb(plain, late)[0] is not None


def verdict(**fields: Any) -> Verdict:
    return Verdict("outlier", np.zeros(1, np.uint8), **fields)


SCORES = Question(np.zeros((1, 2)))
UNCHANGED = Decided(
    certain(np.zeros((1, 1), np.int64), candidates=2, reasons=(None,)),
    SCORES,
    ids=None,
    units=("",),
    epoch=0,
    is_single=True,
)
CHOSEN = replace(UNCHANGED, choices=replace(UNCHANGED.choices, served=np.ones((1, 1), np.int64)))


@pytest.mark.parametrize(
    ("judged", "is_kept"),
    [
        (GOOD, True),
        (replace(GOOD, verdicts=(verdict(),)), True),  # a batch mate was strange, this one not
        # What a guard in dry run says has no action, and counts all the same.
        (replace(GOOD, verdicts=(verdict(reasons={0: (Reason("x", "far"),)}),)), False),
        (replace(GOOD, skipped_guards=("outlier",)), False),
        (replace(GOOD, decided=CHOSEN), False),
        (replace(GOOD, decided=UNCHANGED), True),
        (replace(GOOD, outputs=None, predicted=None, stop="output"), False),
    ],
)
def test_only_good_answers_are_remembered(
    plain: LoadedVersion, judged: Judged, is_kept: bool
) -> None:
    assert remembered(plain, ITEM, judged) == is_kept


def test_inputs_that_nobody_fingerprinted_are_not_remembered(plain: LoadedVersion) -> None:
    assert not remembered(plain, replace(ITEM, fingerprint=b""), GOOD)


def remembered(plain: LoadedVersion, item: Item, judged: Judged) -> bool:
    cache = AnswerCache(entries=8, max_age_s=1.0)
    ladder = Ladder(Device(Clock(), 0), Device(Clock(), 0))  # type: ignore[arg-type]
    ladder.remember(replace(plain, cache=cache), item, judged)
    return len(cache) == 1


async def test_a_rung_that_was_slow_once_is_asked_again_after_a_while(plain: LoadedVersion) -> None:
    clock = Clock(RETRY_NS)
    slow = named(plain, "small", 5 * MS)
    slow.cost.model.observe(1, 10_000 * MS)
    version = replace(
        plain,
        manifest=plain.manifest.model_copy(update={"fallback": (ModelRung(file="small.onnx"),)}),
        rungs={"small.onnx": slow},
    )
    device = Device(clock, 0, {"small": 5 * MS})
    ladder = Ladder(device, device, now_ns=clock)  # type: ignore[arg-type]
    view = View(RoutingTable("toy", 1, "1", (plain.ref,)), {"1": version})

    asked = []
    for waited_ns in (0, RETRY_NS // 2, RETRY_NS):
        slow.cost.model.tried_ns = clock.ns - waited_ns
        answer, _ = await ladder.descend(view, version, ITEM, clock.ns + 50 * MS)
        asked.append(answer is not None)

    assert asked == [False, False, True]
