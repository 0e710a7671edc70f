"""What was served meets what became of it, in whatever order it comes."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.evaluate.joined import Confirmation, Join, Reward, Served, Window, join

WINDOW = Window(length_ns=100, grace_ns=50, default=-1.0)
KEY = ("a", 0)
CLOSED_NS = 10_000


def _served(*, key: tuple[str, int] = KEY, arrived_ns: int = 1000, slots: int = 1) -> Served:
    return Served(key, arrived_ns, tuple(range(slots)))


def _reward(value: float, *, slot: int = 0, at_ns: int = 1050, late_ns: int = 0) -> Reward:
    return Reward(KEY, slot, value, at_ns, at_ns + late_ns)


def _join(*events: Reward | Confirmation, slots: int = 1, now_ns: int = CLOSED_NS) -> Join:
    rewards = [event for event in events if isinstance(event, Reward)]
    confirmations = [event for event in events if isinstance(event, Confirmation)]
    return join([_served(slots=slots)], rewards, confirmations, window=WINDOW, now_ns=now_ns)


def test_the_reward_observed_last_counts() -> None:
    found = _join(_reward(0.0, at_ns=1060), _reward(1.0, at_ns=1050))

    assert (found.rows[0].state, found.rows[0].rewards) == ("joined", (0.0,))


def test_a_slot_of_which_nothing_was_heard_has_the_default() -> None:
    assert _join(_reward(1.0, slot=1), slots=3).rows[0].rewards == (-1.0, 1.0, -1.0)


def test_a_row_of_which_nothing_was_heard_is_closed_with_the_default() -> None:
    found = _join()

    assert (found.rows[0].state, found.rows[0].rewards) == ("defaulted", (-1.0,))


@pytest.mark.parametrize(("now_ns", "state"), [(1149, "pending"), (1150, "joined")])
def test_a_row_is_pending_until_nothing_can_change_it_any_more(now_ns: int, state: str) -> None:
    assert _join(_reward(1.0), now_ns=now_ns).rows[0].state == state


@pytest.mark.parametrize(
    ("at_ns", "late_ns", "is_late"), [(1100, 50, False), (1101, 0, True), (1100, 51, True)]
)
def test_what_is_observed_or_received_too_late_is_counted_and_changes_nothing(
    at_ns: int, late_ns: int, is_late: bool
) -> None:
    found = _join(_reward(1.0, at_ns=at_ns, late_ns=late_ns))

    assert found.late == is_late
    assert found.rows[0].state == ("defaulted" if is_late else "joined")


def test_events_of_no_known_row_or_slot_are_parked_and_counted() -> None:
    stranger = Reward(("b", 0), 0, 1.0, 1050, 1050)

    assert _join(stranger, _reward(1.0, slot=1)).orphans == 2


def test_events_that_contradict_each_other_at_one_time_are_counted() -> None:
    found = _join(_reward(1.0), _reward(0.0), _reward(1.0))

    assert (found.contradicting, found.rows[0].rewards) == (1, (1.0,))


def test_what_was_shown_instead_is_an_override() -> None:
    agreed = _join(Confirmation(KEY, (0,), 1050, 1050)).rows[0]
    other = _join(Confirmation(KEY, (7,), 1050, 1050)).rows[0]

    assert (agreed.shown, agreed.is_overridden) == ((0,), False)
    assert (other.shown, other.is_overridden) == ((7,), True)
    assert (_join().rows[0].shown, _join().rows[0].is_overridden) == (None, False)


keys = st.tuples(st.sampled_from("ab"), st.integers(0, 1))
times = st.integers(990, 1200)
rewards = st.builds(Reward, keys, st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), times, times)
shown = st.lists(st.sampled_from([0, 1, "x"]), min_size=1, max_size=2).map(tuple)
confirmations = st.builds(Confirmation, keys, shown, times, times)


@given(
    events=st.lists(st.one_of(rewards, confirmations), max_size=12),
    now_ns=st.integers(1000, 1400),
    data=st.data(),
)
def test_neither_order_nor_repetition_changes_the_joined_table(
    events: list[Reward | Confirmation], now_ns: int, data: st.DataObject
) -> None:
    served = [_served(key=("a", row), slots=row + 1, arrived_ns=1000 + row) for row in (0, 1)]

    def joined(some: list[Reward | Confirmation], rows: list[Served]) -> Join:
        return join(
            rows,
            [event for event in some if isinstance(event, Reward)],
            [event for event in some if isinstance(event, Confirmation)],
            window=WINDOW,
            now_ns=now_ns,
        )

    again = data.draw(st.permutations(events + data.draw(st.permutations(events))[:4]))
    assert joined(list(again), served[::-1]) == joined(events, served)


@given(
    early=st.lists(rewards, max_size=6),
    more=st.lists(rewards, max_size=6),
)
def test_what_comes_after_the_end_never_changes_a_closed_row(
    early: list[Reward], more: list[Reward]
) -> None:
    served = _served(slots=2)
    late = [Reward(e.key, e.slot, e.value, e.observed_ns, 1151 + e.received_ns) for e in more]
    before = join([served], early, [], window=WINDOW, now_ns=1150)
    after = join([served], early + late, [], window=WINDOW, now_ns=CLOSED_NS)

    assert after.rows == before.rows
