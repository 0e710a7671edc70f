"""Answers that cannot be right."""

import numpy as np

from guards.output import OutputGuard, OutputSettings
from guards.verdict import Action

ROWS = np.array([[0.9, 0.1], [0.55, 0.45], [np.nan, 0.3], [0.2, np.inf]], np.float32)


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
