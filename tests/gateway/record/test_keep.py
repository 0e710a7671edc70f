"""Traces are kept by the caller's wish, by an unbiased draw, or for a capped special reason."""

import math
import random
from collections.abc import Callable

import pytest

from gateway.config import RecordSettings
from gateway.record.decision import Decision, Exploration
from gateway.record.ids import new_trace
from gateway.record.keep import Keeper, TokenBucket, share_threshold, threshold_digits

MakeDecision = Callable[..., Decision]
CHANGED = Exploration("epsilon", (1,), (2,), (0.1,), ("",))
UNCHANGED = Exploration("epsilon", (1,), (1,), (0.9,), ("",))


def keeper(clock_s: Callable[[], float] = lambda: 0.0, **settings: float) -> Keeper:
    chosen = {"trace_share": 0.0, **settings}
    return Keeper(RecordSettings.model_validate(chosen), clock_s=clock_s)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"status": 500, "code": "unanswered"}, "error"),
        ({"status": 504, "code": "deadline_exceeded"}, "error"),
        ({"status": 503, "code": "shed"}, "shed"),
        ({"status": 422, "code": "rejected_by_guard", "rejected": 1}, "rejected"),
        ({"status": 400, "code": "bad_request"}, ""),
        ({"served_by": "fallback:constant"}, "fallback"),
        ({"flagged": 1}, "flagged"),
        ({"exploration": CHANGED}, "explored"),
        ({"exploration": UNCHANGED}, ""),
        ({"budget_ns": 999_999}, "over_budget"),
        ({"status": 500, "served_by": "", "flagged": 1, "budget_ns": 1}, "error"),
    ],
)
def test_what_is_out_of_the_ordinary_is_kept_for_its_most_urgent_reason(
    change: dict[str, object], reason: str, make_decision: MakeDecision
) -> None:
    assert keeper().reason(make_decision(**change)) == reason


def test_a_caller_that_keeps_its_trace_is_followed(make_decision: MakeDecision) -> None:
    assert keeper().reason(make_decision(parent_id="1" * 16, parent_sampled=True)) == "parent"


def test_a_caller_that_drops_its_trace_is_respected_unless_something_happened(
    make_decision: MakeDecision,
) -> None:
    generous = keeper(trace_share=1.0)

    assert generous.reason(make_decision(parent_id="1" * 16)) == ""
    assert generous.reason(make_decision(parent_id="1" * 16, status=500)) == "error"


def test_the_share_is_drawn_before_special_reasons_and_does_not_pay_for_them(
    make_decision: MakeDecision,
) -> None:
    generous = keeper(trace_share=1.0, keep_per_s=0)

    assert generous.reason(make_decision(status=500)) == "share"
    assert not generous.take_suppressed()


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_of_ordinary_requests_is_kept(share: float, make_decision: MakeDecision) -> None:
    draws = random.Random(7)
    n = 10_000
    fair = keeper(trace_share=share)
    trace_ids = (new_trace(f"{draws.getrandbits(128):032x}").trace_id for _ in range(n))

    kept = sum(fair.reason(make_decision(trace_id=trace_id)) == "share" for trace_id in trace_ids)

    assert abs(kept / n - share) < 4 * math.sqrt(share * (1 - share) / n)


def test_no_share_keeps_nothing_and_the_whole_share_everything(make_decision: MakeDecision) -> None:
    for trace_id in ("0" * 31 + "1", "f" * 32):
        assert keeper(trace_share=0.0).reason(make_decision(trace_id=trace_id)) == ""
        assert keeper(trace_share=1.0).reason(make_decision(trace_id=trace_id)) == "share"


def test_each_special_reason_is_capped_by_itself_and_the_rest_is_counted(
    make_decision: MakeDecision,
) -> None:
    now_s = [0.0]
    capped = keeper(lambda: now_s[0], keep_per_s=3)
    errors = [capped.reason(make_decision(status=500)) for _ in range(10)]

    assert errors == ["error"] * 3 + [""] * 7
    assert capped.reason(make_decision(flagged=1)) == "flagged"
    assert capped.take_suppressed() == {"error": 7}
    assert capped.take_suppressed() == {}
    now_s[0] = 1.0
    assert capped.reason(make_decision(status=500)) == "error"


def test_callers_cannot_make_us_trace_everything(make_decision: MakeDecision) -> None:
    capped = keeper(keep_parent_per_s=2)
    greedy = make_decision(parent_id="1" * 16, parent_sampled=True)

    assert [capped.reason(greedy) for _ in range(4)] == ["parent", "parent", "", ""]
    assert capped.take_suppressed() == {"parent": 2}


def test_a_bucket_lets_its_rate_through_and_saves_one_second_at_most() -> None:
    now_s = [0.0]
    bucket = TokenBucket(10, lambda: now_s[0])
    taken = []
    for tick in range(1000):
        now_s[0] = tick / 100
        taken.append(bucket.take())
    assert 100 <= sum(taken) <= 110

    now_s[0] += 3600
    assert sum(bucket.take() for _ in range(100)) == 10


@pytest.mark.parametrize(
    ("share", "digits"), [(1.0, "0"), (0.5, "8"), (0.25, "c"), (2**-56, "ffffffffffffff")]
)
def test_the_threshold_is_written_as_opentelemetry_writes_it(share: float, digits: str) -> None:
    assert threshold_digits(share) == digits
    assert int(digits.ljust(14, "0"), 16) == share_threshold(share)
