"""Whatever order feedback is sent in, and however often: the joined table is the same."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings

from gateway.evaluate.choice_log import read_log
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.joined import Join, Window
from gateway.registry.database import open_database
from tests.gateway.evaluate.choices import rank_items
from tests.gateway.evaluate.decisions import ARRIVED_NS

REQUESTS = rank_items(3)
SECOND_NS = 10**9
WINDOW = Window(100 * SECOND_NS, 50 * SECOND_NS, default=0.0)

rewards = st.builds(
    lambda which, slot, value, at_s: Feedback(
        REQUESTS[which].prediction_id,
        row=0,
        slot=slot,
        reward=value,
        observed_ns=ARRIVED_NS + at_s * SECOND_NS,
        idempotency_key=f"{value}/{at_s}",
    ),
    st.integers(0, 2),
    st.integers(0, 4),  # there are three
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 99, 101]),
)
confirmations = st.builds(
    lambda which, shown, at_s: Feedback(
        REQUESTS[which].prediction_id,
        row=0,
        served=list(shown),
        observed_ns=ARRIVED_NS + at_s * SECOND_NS,
        idempotency_key=f"{shown}/{at_s}",
    ),
    st.integers(0, 2),
    st.permutations([100, 101, 102]).map(tuple),
    st.sampled_from([2, 98]),
)
events = st.lists(st.one_of(rewards, confirmations), max_size=8)


def _joined(batches: Sequence[Sequence[Feedback]]) -> Join:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/feedback.db"
        store = FeedbackStore(url, clock_ns=lambda: ARRIVED_NS + 140 * SECOND_NS)
        for batch in batches:
            store.add("mlp", batch)
        return read_log(
            open_database(url), "mlp", REQUESTS, window=WINDOW, now_ns=ARRIVED_NS + 10**15
        ).joined


@given(events=events, data=st.data())
@settings(max_examples=15, deadline=None)
def test_neither_order_nor_repetition_of_calls_changes_the_joined_table(
    events: list[Feedback], data: st.DataObject
) -> None:
    repeated = events + data.draw(st.permutations(events))[:3]
    shuffled = data.draw(st.permutations(repeated))
    cut = data.draw(st.integers(0, len(shuffled)))

    assert _joined([shuffled[:cut], shuffled[cut:]]) == _joined([events])
