"""Answers that cannot be right, and answers the model is not sure enough of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from guards.errors import ShapeMismatchError
from guards.output.classes import ClassReading
from guards.output.guard import OutputGuard
from guards.output.layout import Layout
from guards.output.settings import OutputSettings, Range
from guards.verdict import Action, Rows

ROWS = np.array([[0.9, 0.1], [0.55, 0.45], [np.nan, 0.3], [0.2, np.inf]], np.float32)


def classes(width: int = 2, role: str = "probabilities", tolerance: float = 1e-3) -> Layout:
    """An answer that speaks of classes, alone."""
    reading = ClassReading(role, width)  # type: ignore[arg-type]
    return Layout.of([("p", width, Range())], width=width, reading=reading, tolerance=tolerance)


def kinds(guard: OutputGuard, rows: Rows) -> list[list[str]]:
    """What is wrong with each row."""
    reasons = guard.check(rows).reasons
    return [[reason.kind for reason in reasons.get(row, ())] for row in range(len(rows))]


def test_an_answer_that_is_not_finite_falls_back() -> None:
    verdict = OutputGuard(OutputSettings()).check(ROWS)

    assert verdict.actions.tolist() == [0, 0, Action.FALLBACK, Action.FALLBACK]
    assert (verdict.reasons[2][0].feature, verdict.reasons[2][0].observed) == ("output[0]", "nan")
    assert (verdict.reasons[3][0].feature, verdict.reasons[3][0].observed) == ("output[1]", "inf")


def test_an_answer_below_the_least_confidence_is_flagged() -> None:
    verdict = OutputGuard(OutputSettings(min_confidence=0.6, nonfinite="reject")).check(ROWS)

    assert verdict.actions.tolist() == [0, Action.FLAG, Action.REJECT, Action.REJECT]
    assert verdict.reasons[1][0].kind == "confidence"
    assert verdict.reasons[1][0].expected == "at least 0.6"


def test_confidence_is_not_asked_of_a_regression() -> None:
    values = np.array([-3.0, 12.0, np.nan])

    assert OutputGuard(OutputSettings()).check(values).actions.tolist() == [0, 0, Action.FALLBACK]


def test_a_number_outside_its_declared_range_falls_back_and_its_ends_belong_to_it() -> None:
    layout = Layout.of(
        [("price", 1, Range(low=0)), ("delay", 2, Range(low=-0.1, high=0.7))], width=1
    )
    rows = np.array([[0, 0.7, -0.1], [1e30, 0, 0], [-1e-6, 0, 0], [1, 0, 0.71]], np.float32)

    verdict = OutputGuard(OutputSettings(), layout).check(rows)

    assert verdict.actions.tolist() == [0, 0, Action.FALLBACK, Action.FALLBACK]
    assert (verdict.reasons[2][0].feature, verdict.reasons[2][0].expected) == ("price", "0 to ∞")
    assert verdict.reasons[3][0].feature == "delay[1]"
    assert verdict.reasons[3][0].expected == "-0.1 to 0.7"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_next_number_beyond_an_end_is_outside(dtype: type[np.floating]) -> None:
    layout = Layout.of([("delay", 1, Range(low=-0.1, high=0.7))], width=1)
    guard, high, low = OutputGuard(OutputSettings(), layout), dtype(0.7), dtype(-0.1)

    for inside, outside in ((high, np.nextafter(high, dtype(1))), (low, np.nextafter(low, -high))):
        assert kinds(guard, np.array([[inside]])) == [[]]
        assert kinds(guard, np.array([[outside]])) == [["range"]]


def test_probabilities_that_are_no_distribution_fall_back() -> None:
    rows = np.array([[0.3, 0.7], [0.3, 0.8], [0, 0], [1.2, -0.2], [0.3, 0.7004]])

    assert kinds(OutputGuard(OutputSettings(), classes()), rows) == [
        [], ["sum"], ["sum"], ["range"], [],
    ]  # fmt: skip


def test_the_sum_of_a_great_many_probabilities_is_not_lost_to_rounding() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(50_000, 0.01), size=4).astype(np.float32)

    assert kinds(OutputGuard(OutputSettings(), classes(50_000)), rows) == [[]] * 4


def test_labels_that_may_come_together_need_not_sum_to_one() -> None:
    rows = np.array([[0.9, 0.9], [0.1, 0.1], [0.9, 1.5]])

    assert kinds(OutputGuard(OutputSettings(sum="allow"), classes()), rows) == [[], [], ["range"]]


def test_logits_neither_sum_to_one_nor_lie_between_zero_and_one() -> None:
    guard = OutputGuard(OutputSettings(min_confidence=0.9), classes(role="logits"))

    assert kinds(guard, np.array([[40.0, -30.0], [0.2, 0.1]])) == [[], ["confidence"]]


@pytest.mark.parametrize(
    ("role", "sure", "unsure"), [("probabilities", 0.05, 0.4), ("logits", -3.0, 0.3)]
)
def test_one_number_speaks_for_two_classes(role: str, sure: float, unsure: float) -> None:
    guard = OutputGuard(OutputSettings(min_confidence=0.9), classes(1, role))

    assert kinds(guard, np.array([[sure], [unsure]])) == [[], ["confidence"]]


def test_outputs_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeMismatchError):
        OutputGuard(OutputSettings(), classes(3)).check(np.full((4, 2), 0.5))


def test_a_range_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="low 2 lies above high 1"):
        Range(low=2, high=1)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(1, 5), st.just(3)),
        elements=st.one_of(
            st.floats(-0.5, 1.5, width=32), st.sampled_from([0, 0.5, 1, np.nan, np.inf, -np.inf])
        ),
    )
)
def test_the_quick_look_at_a_batch_misses_nothing(rows: Rows) -> None:
    """Judged against the definition, value by value."""
    layout = Layout.of(
        [("p", 2, Range()), ("x", 1, Range(low=-0.25))],
        width=2,
        reading=ClassReading("probabilities", 2),
        tolerance=0.01,
    )
    guard = OutputGuard(OutputSettings(min_confidence=0.6), layout)

    for row, found in zip(rows.astype(np.float64), kinds(guard, rows), strict=True):
        first, second, other = row
        expected = []
        if not np.isfinite(row).all():
            expected = ["nonfinite"]
        within = [-0.01 <= p <= np.float32(1.01) for p in (first, second) if np.isfinite(p)]
        if not all(within) or (np.isfinite(other) and other < -0.25):
            expected.append("range")
        if np.isfinite(row).all():
            expected += ["sum"] if abs(first + second - 1) > 0.01 else []
            expected += ["confidence"] if max(first, second) < 0.6 else []
        assert found == expected
