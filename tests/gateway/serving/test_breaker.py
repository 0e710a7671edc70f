"""The breaker: when it opens, when it tries again, and that it never gets stuck."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from gateway.errors import BreakerOpenError
from gateway.serving.breaker import (
    LEAST_CALLS,
    LONGEST_PAUSE_S,
    MOST_CALLS,
    NS_PER_S,
    WINDOW_NS,
    Breaker,
    Breakers,
    Call,
    State,
)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("m", now_ns=clock, random=lambda: 1.0)


def run(breaker: Breaker, *, failed: bool | None) -> None:
    with breaker.call() as call:
        if failed is not None:
            (call.failed if failed else call.succeeded)()


def fail_until_open(breaker: Breaker) -> None:
    for _ in range(LEAST_CALLS):
        run(breaker, failed=True)
    assert breaker.state is State.OPEN


def pass_pause(breaker: Breaker, clock: Clock) -> float:
    """Wait until a call goes through, and return the seconds; the call is neither."""
    for quarter in range(4 * int(LONGEST_PAUSE_S) + 1):
        try:
            run(breaker, failed=None)
        except BreakerOpenError:
            clock.now_ns += NS_PER_S // 4
        else:
            return quarter / 4
    raise AssertionError("stuck")


def test_it_opens_when_half_of_the_latest_calls_failed(breaker: Breaker) -> None:
    for i in range(LEAST_CALLS):
        assert breaker.state is State.CLOSED
        run(breaker, failed=i % 2 == 1)

    assert breaker.state is State.OPEN
    with pytest.raises(BreakerOpenError):
        breaker.call()


def test_fewer_failures_or_fewer_calls_open_nothing(breaker: Breaker) -> None:
    for _ in range(LEAST_CALLS - 1):
        run(breaker, failed=True)
    run(breaker, failed=None)  # neither counts as nothing at all

    assert breaker.state is State.CLOSED


def test_a_third_of_failures_opens_nothing(breaker: Breaker) -> None:
    for i in range(3 * MOST_CALLS):
        run(breaker, failed=i % 3 == 2)

    assert breaker.state is State.CLOSED


def test_failures_of_long_ago_open_nothing(breaker: Breaker, clock: Clock) -> None:
    for _ in range(LEAST_CALLS - 1):
        run(breaker, failed=True)
    clock.now_ns += WINDOW_NS
    run(breaker, failed=True)

    assert breaker.state is State.CLOSED


def test_a_long_good_past_delays_opening_by_a_hundred_calls_at_most(breaker: Breaker) -> None:
    for _ in range(10_000):
        run(breaker, failed=False)
    for _ in range(MOST_CALLS // 2):
        run(breaker, failed=True)

    assert breaker.state is State.OPEN


def test_calls_of_one_batch_count_each(breaker: Breaker) -> None:
    calls = [breaker.call() for _ in range(LEAST_CALLS)]
    for call in calls:
        with call:
            call.failed()

    assert breaker.state is State.OPEN


def test_an_open_breaker_says_when_to_come_back(breaker: Breaker, clock: Clock) -> None:
    fail_until_open(breaker)
    with pytest.raises(BreakerOpenError) as caught:
        breaker.call()
    assert caught.value.retry_after_s == 2

    clock.now_ns += caught.value.retry_after_s * NS_PER_S
    run(breaker, failed=False)
    assert breaker.state is State.CLOSED


def test_a_second_call_waits_for_the_probe_to_end(breaker: Breaker, clock: Clock) -> None:
    fail_until_open(breaker)
    pass_pause(breaker, clock)
    with breaker.call():
        with pytest.raises(BreakerOpenError):
            breaker.call()
        assert breaker.state is State.HALF_OPEN
    with breaker.call() as probe:  # the first one was neither, so there is another
        probe.succeeded()

    assert breaker.state is State.CLOSED


def test_a_probe_that_breaks_off_is_neither_and_frees_the_place(
    breaker: Breaker, clock: Clock
) -> None:
    fail_until_open(breaker)
    pass_pause(breaker, clock)
    with pytest.raises(ConnectionError), breaker.call():
        raise ConnectionError

    run(breaker, failed=False)
    assert breaker.state is State.CLOSED


def test_every_failed_probe_doubles_the_pause_up_to_half_a_minute(
    breaker: Breaker, clock: Clock
) -> None:
    fail_until_open(breaker)
    pauses_s = []
    for _ in range(7):
        pauses_s.append(pass_pause(breaker, clock))
        run(breaker, failed=True)

    assert pauses_s == [2, 4, 8, 16, 30, 30, 30]

    pass_pause(breaker, clock)
    run(breaker, failed=False)
    fail_until_open(breaker)
    assert pass_pause(breaker, clock) == 2  # closing forgets the pauses


def test_jitter_halves_the_pause_at_most(clock: Clock) -> None:
    breaker = Breaker("m", now_ns=clock, random=lambda: 0.0)
    fail_until_open(breaker)

    assert pass_pause(breaker, clock) == 1


@pytest.mark.parametrize("failed", [True, False])
def test_a_call_from_before_it_opened_changes_nothing_afterwards(
    breaker: Breaker, clock: Clock, failed: bool
) -> None:
    stale = [breaker.call() for _ in range(LEAST_CALLS)]
    fail_until_open(breaker)
    pass_pause(breaker, clock)
    finish(stale[0], failed=failed)
    assert breaker.state is State.HALF_OPEN

    run(breaker, failed=False)
    for call in stale[1:]:
        finish(call, failed=failed)
    run(breaker, failed=True)
    assert breaker.state is State.CLOSED


def test_versions_do_not_share_a_breaker(clock: Clock) -> None:
    breakers = Breakers(now_ns=clock, random=lambda: 1.0)
    fail_until_open(breakers.of("sha256:1", model="m"))

    assert breakers.of("sha256:1", model="m").state is State.OPEN
    assert breakers.of("sha256:2", model="m").state is State.CLOSED


def finish(call: Call, *, failed: bool | None) -> None:
    with call:
        if failed is not None:
            (call.failed if failed else call.succeeded)()


class AnyTraffic(RuleBasedStateMachine):
    """Calls begin, end in any order and any way, and time passes."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker("m", now_ns=self.clock, random=lambda: 0.5)
        self.probe: Call | None = None

    @rule(target=calls, count=st.integers(1, 30))
    def begin(self, count: int) -> list[Call]:
        was_closed = self.breaker.state is State.CLOSED
        begun: list[Call] = []
        retry_after_s = 1
        for _ in range(count):
            try:
                begun.append(self.breaker.call())
            except BreakerOpenError as error:
                retry_after_s = error.retry_after_s
        assert 1 <= retry_after_s <= LONGEST_PAUSE_S
        if not was_closed and begun:
            assert len(begun) == 1  # a probe goes alone
            assert self.probe is None
            [self.probe] = begun
        return begun

    @rule(calls=consumes(calls), failed=st.none() | st.booleans())
    def end(self, calls: list[Call], failed: bool | None) -> None:
        for call in calls:
            is_probe = call is self.probe
            if is_probe:
                self.probe = None
            finish(call, failed=failed)
            if is_probe and failed is not None:
                assert self.breaker.state is (State.OPEN if failed else State.CLOSED)

    @rule(seconds=st.sampled_from([0.1, 1, 2, 5, 10, 30]))
    def wait(self, seconds: float) -> None:
        self.clock.now_ns += int(seconds * NS_PER_S)

    @precondition(lambda self: self.probe is None)
    @rule()
    def come_back(self) -> None:
        """However it came here, one good call after the longest pause closes it."""
        self.clock.now_ns += int(LONGEST_PAUSE_S * NS_PER_S)
        run(self.breaker, failed=False)
        assert self.breaker.state is State.CLOSED

    @invariant()
    def a_probe_is_under_way_only_while_half_open(self) -> None:
        if self.probe is not None:
            assert self.breaker.state is State.HALF_OPEN


AnyTraffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyTraffic = AnyTraffic.TestCase
