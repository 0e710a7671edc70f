"""Off is off: for all models or for one, whoever asks, and whatever was pushed before."""

import pickle
from pathlib import Path

import pytest

from gateway.registry.switches import ALL, Switch, Switches
from gateway.serving.switch import STALE_S, ExploreGate


@pytest.fixture
def switches(tmp_path: Path) -> Switches:
    return Switches(f"sqlite:///{tmp_path}/handrail.db", clock_s=lambda: 5.0)


def turn(switches: Switches, model: str, *, explore: bool) -> None:
    switches.turn(model, explore=explore, who="ann", why="because")


def test_the_off_of_either_switch_wins(switches: Switches) -> None:
    assert switches.of("feed") == Switch(0, True, True)

    turn(switches, "feed", explore=False)
    assert (switches.of("feed").is_on, switches.of("other").is_on) == (False, True)
    turn(switches, ALL, explore=False)
    turn(switches, "feed", explore=True)
    assert not switches.of("feed").is_on
    assert not switches.of("registered later").is_on
    turn(switches, ALL, explore=True)
    assert switches.of("feed").is_on

    assert [row["explore"] for row in switches.history()] == [False, False, True, True]
    assert {(row["who"], row["why"], row["at_s"]) for row in switches.history()} == {
        ("ann", "because", 5.0)
    }


def test_every_change_has_a_later_revision(switches: Switches) -> None:
    revisions = []
    for model in ("feed", ALL, "other", "feed"):
        turn(switches, model, explore=False)
        revisions.append(switches.of("feed").revision)

    assert revisions == [1, 2, 2, 4]


def test_switches_travel_between_processes(switches: Switches) -> None:
    turn(switches, "feed", explore=False)

    assert not pickle.loads(pickle.dumps(switches)).of("feed").is_on


def test_nothing_is_explored_before_the_switch_is_known() -> None:
    gate = ExploreGate(is_healthy=lambda: True, filled_share=lambda: 0.0)

    assert gate.closed() == "kill_switch"
    gate.turn(Switch())
    assert gate.closed() is None


def test_a_push_that_comes_late_does_not_turn_it_back() -> None:
    gate = ExploreGate(is_healthy=lambda: True, filled_share=lambda: 0.0)

    assert gate.turn(Switch(7, everywhere=False)) == 7
    assert gate.turn(Switch(3)) == 7
    assert gate.closed() == "kill_switch"


def test_a_switch_that_cannot_be_read_for_long_is_off() -> None:
    now_s = 0.0
    gate = ExploreGate(is_healthy=lambda: True, filled_share=lambda: 0.0, now_s=lambda: now_s)
    gate.turn(Switch())

    now_s = STALE_S
    assert gate.closed() is None
    now_s += 0.1
    assert gate.closed() == "kill_switch_unknown"
    gate.turn(Switch())
    assert gate.closed() is None


@pytest.mark.parametrize(
    ("is_healthy", "filled", "reason"),
    [(False, 0.0, "journal"), (True, 0.81, "journal_queue"), (True, 0.79, None)],
)
def test_what_cannot_be_recorded_is_not_explored(
    is_healthy: bool, filled: float, reason: str | None
) -> None:
    gate = ExploreGate(is_healthy=lambda: is_healthy, filled_share=lambda: filled)
    gate.turn(Switch())

    assert gate.closed() == reason


def test_a_gate_that_fails_is_closed() -> None:
    def broken() -> bool:
        raise RuntimeError("injected")

    gate = ExploreGate(is_healthy=broken, filled_share=lambda: 0.0)
    gate.turn(Switch())

    assert gate.closed() == "error"
