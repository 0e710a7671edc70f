"""Join what was served with what became of it: a fixed window, the same for every choice.

A row is closed a fixed time after it was served, whether or not anything was heard of it, and
then has the default reward.  Were rows taken as soon as a reward comes, choices whose rewards
come quickly would look better than they are.  The result does not depend on the order in which
events came, nor on how often: it is a function of the set of them.

Source: Agarwal et al. (2016), "Making contextual decisions with low technical debt",
arXiv:1606.03966, section 4 (joining with a fixed experimental unit duration).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeVar

Choice = int | str  # an action, or the id of a candidate
Key = tuple[str, int]  # prediction id and row


@dataclass(frozen=True, slots=True)
class Window:
    """How long feedback is waited for, and what stands where none came."""

    length_ns: int  # from arrival to when it was observed
    grace_ns: int  # how much later it may be received
    default: float

    def closes_ns(self, arrived_ns: int) -> int:
        """Tell when nothing can change a row any more."""
        return arrived_ns + self.length_ns + self.grace_ns

    def is_late(self, arrived_ns: int, *, observed_ns: int, received_ns: int) -> bool:
        """Whether an event came too late to count."""
        is_too_old = observed_ns > arrived_ns + self.length_ns
        return is_too_old or received_ns > self.closes_ns(arrived_ns)


@dataclass(frozen=True, slots=True)
class Served:
    """One row of a request as it was answered."""

    key: Key
    arrived_ns: int  # Unix
    choices: tuple[Choice, ...]  # one, or a ranking in its order


@dataclass(frozen=True, slots=True)
class Reward:
    """What one slot turned out to be worth."""

    key: Key
    slot: int
    value: float
    observed_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What was really shown."""

    key: Key
    choices: tuple[Choice, ...]
    observed_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A row with what became of it."""

    served: Served
    state: Literal["pending", "joined", "defaulted"]  # joined: at least one reward came in time
    rewards: tuple[float, ...]  # per slot
    shown: tuple[Choice, ...] | None  # None: nobody confirmed

    @property
    def is_overridden(self) -> bool:
        """Whether something else was shown than was served."""
        return self.shown is not None and self.shown != self.served.choices


@dataclass(frozen=True, slots=True)
class Join:
    """All rows, in the order of arrival, and the events that changed none."""

    rows: tuple[Joined, ...]
    late: int
    orphans: int  # of no row that is known (yet), or of a slot that it does not have
    contradicting: int  # observed at the same time as another one that says something else


def join(
    served: Iterable[Served],
    rewards: Iterable[Reward],
    confirmations: Iterable[Confirmation],
    *,
    window: Window,
    now_ns: int,
) -> Join:
    """Join events with rows; an event that is repeated counts once.

    Of several rewards for one slot the one observed last counts; of those observed at once, the
    largest.

    Args:
        served: Rows; the last one of a key counts.
        rewards: In any order.
        confirmations: In any order.
        window: Which events are in time.
        now_ns: Unix; a row that closes after it is pending, with what is known so far.
    """
    rows = {row.key: row for row in served}
    rewards, confirmations = set(rewards), set(confirmations)
    paid, shown, late, orphans = _sort_out(rows, rewards, confirmations, window)
    contradicting = 0
    joined = []
    for row in sorted(rows.values(), key=lambda row: (row.arrived_ns, row.key)):
        by_slot = {}
        for slot, events in paid[row.key].items():
            by_slot[slot], disputed = _last([(e.observed_ns, e.value) for e in events])
            contradicting += disputed
        last_shown = None
        if row.key in shown:
            told = [(e.observed_ns, _orderable(e.choices), e.choices) for e in shown[row.key]]
            last_shown = max(told)[2]
            contradicting += _disputed([(at, choices) for at, choices, _ in told])
        joined.append(_close(row, by_slot, last_shown, window=window, now_ns=now_ns))
    return Join(tuple(joined), late, orphans, contradicting)


_Paid = Mapping[Key, Mapping[int, Sequence[Reward]]]
_Shown = Mapping[Key, Sequence[Confirmation]]


def _sort_out(
    rows: Mapping[Key, Served],
    rewards: Iterable[Reward],
    confirmations: Iterable[Confirmation],
    window: Window,
) -> tuple[_Paid, _Shown, int, int]:
    """Give every event that counts to its row, and count those that do not."""
    paid: defaultdict[Key, defaultdict[int, list[Reward]]] = defaultdict(lambda: defaultdict(list))
    shown: defaultdict[Key, list[Confirmation]] = defaultdict(list)
    late = orphans = 0
    events: Iterable[Reward | Confirmation] = chain(rewards, confirmations)
    for event in events:
        row = rows.get(event.key)
        if row is None or (isinstance(event, Reward) and event.slot >= len(row.choices)):
            orphans += 1
        elif window.is_late(
            row.arrived_ns, observed_ns=event.observed_ns, received_ns=event.received_ns
        ):
            late += 1
        elif isinstance(event, Reward):
            paid[event.key][event.slot].append(event)
        else:
            shown[event.key].append(event)
    return paid, shown, late, orphans


def _close(
    row: Served,
    by_slot: Mapping[int, float],
    shown: tuple[Choice, ...] | None,
    *,
    window: Window,
    now_ns: int,
) -> Joined:
    state: Literal["pending", "joined", "defaulted"] = "joined" if by_slot else "defaulted"
    if now_ns < window.closes_ns(row.arrived_ns):
        state = "pending"
    rewards = tuple(by_slot.get(slot, window.default) for slot in range(len(row.choices)))
    return Joined(row, state, rewards, shown)


_Value = TypeVar("_Value", float, tuple[str, ...])


def _last(told: Sequence[tuple[int, float]]) -> tuple[float, int]:
    """Find what was observed last, and how many others contradict it."""
    return max(told)[1], _disputed(told)


def _disputed(told: Sequence[tuple[int, _Value]]) -> int:
    """Count the events that say something else than another one, at the same time."""
    by_time: defaultdict[int, set[_Value]] = defaultdict(set)
    for at, value in told:
        by_time[at].add(value)
    return sum(len(values) - 1 for values in by_time.values())


def _orderable(choices: tuple[Choice, ...]) -> tuple[str, ...]:
    """Make numbers and texts comparable."""
    return tuple(map(repr, choices))
