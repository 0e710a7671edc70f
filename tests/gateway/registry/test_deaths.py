"""Two deaths within an hour quarantine, one that came through alone is forgotten."""

import pickle
from pathlib import Path

import pytest

from gateway.registry.deaths import KEPT_S, Deaths


class Clock:
    now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deaths(tmp_path: Path, clock: Clock) -> Deaths:
    return Deaths(f"sqlite:///{tmp_path}/handrail.db", clock_s=clock)


def mark(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_the_second_death_quarantines_for_an_hour(deaths: Deaths, clock: Clock) -> None:
    assert deaths.add("m", "m~a", [mark(1), mark(2)], told=True) == []
    clock.now_s += 60
    assert deaths.add("m", "m~b", [mark(1), mark(3)], told=True) == [mark(1)]

    [found] = deaths.quarantine("m")

    assert (found.fingerprint, found.deaths, found.until_s) == (mark(1), 2, clock.now_s + KEPT_S)
    clock.now_s += KEPT_S - 1  # the first death is more than an hour ago
    assert deaths.quarantine("m") == [found]
    assert len(deaths.of("m")[mark(1)]) == 2
    deaths.acquit("m", mark(1))
    assert deaths.quarantine("m") == [found]
    clock.now_s += 2
    assert deaths.quarantine("m") == []
    assert deaths.of("m") == {}


def test_a_death_told_twice_counts_once(deaths: Deaths) -> None:
    for _ in range(3):
        assert deaths.add("m", "m~a", [mark(1)], told=False) == []

    assert len(deaths.of("m")[mark(1)]) == 1


def test_inputs_that_rode_twice_in_the_batch_died_once(deaths: Deaths) -> None:
    assert deaths.add("m", "m~a", [mark(1), mark(1)], told=False) == []

    assert len(deaths.of("m")[mark(1)]) == 1


def test_models_do_not_answer_for_each_other(deaths: Deaths) -> None:
    deaths.add("m", "m~a", [mark(1)], told=False)

    assert deaths.add("n", "n~a", [mark(1)], told=False) == []
    assert deaths.quarantine("m") == []


def test_a_suspect_is_acquitted_and_a_convict_is_not(deaths: Deaths) -> None:
    deaths.add("m", "m~a", [mark(1), mark(2)], told=False)
    deaths.add("m", "m~b", [mark(2)], told=False)

    deaths.acquit("m", mark(1))
    deaths.acquit("m", mark(2))

    assert set(deaths.of("m")) == {mark(2)}


def test_deaths_that_are_an_hour_apart_are_no_two_deaths(deaths: Deaths, clock: Clock) -> None:
    deaths.add("m", "m~a", [mark(1)], told=False)
    clock.now_s += KEPT_S + 1

    assert deaths.add("m", "m~b", [mark(1)], told=False) == []


def test_who_came_through_alone_is_forgotten_whatever_was_long_ago(
    deaths: Deaths, clock: Clock
) -> None:
    deaths.add("m", "m~a", [mark(1)], told=False)
    clock.now_s += KEPT_S + 1
    deaths.add("m", "m~b", [mark(1)], told=False)

    assert len(deaths.of("m")[mark(1)]) == 1
    deaths.acquit("m", mark(1))

    assert deaths.of("m") == {}


def test_an_operator_can_lift_a_quarantine_once(deaths: Deaths) -> None:
    deaths.add("m", "m~a", [mark(1)], told=False)
    deaths.add("m", "m~b", [mark(1)], told=False)

    assert deaths.lift("m", mark(1))
    assert not deaths.lift("m", mark(1))
    assert deaths.of("m") == {}


def test_it_travels_to_another_process_even_when_it_was_asked_before(tmp_path: Path) -> None:
    deaths = Deaths(f"sqlite:///{tmp_path}/handrail.db")
    deaths.add("m", "m~a", [mark(1)], told=True)

    twin = pickle.loads(pickle.dumps(deaths))

    assert twin.of("m") == deaths.of("m")
