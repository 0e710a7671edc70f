"""What the demo asks, and its own count of what came back."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from gateway.client import AnswerError, Client
from gateway.wire import Answer
from guards.verdict import Rows
from models.examples.example import Example

THREADS = 2  # clients asking at once; the gateway has the same two cores
IMPOSSIBLE_MS = 0.001
FORCED = 20  # requests with an impossible deadline, per model
LABELS_PER_POST = 100


@dataclass(slots=True)
class Tally:
    """The client's own count for one model."""

    requests: int = 0
    lost: int = 0  # no answer, and no reason that was to be expected
    latencies_ms: list[float] = field(default_factory=list)  # ordinary rows
    ordinary: int = 0
    false_alarms: int = 0  # ordinary rows that a guard flagged or rejected
    strange: dict[str, int] = field(default_factory=dict)  # kind -> rows asked
    detected: dict[str, int] = field(default_factory=dict)  # kind -> flagged or rejected
    forced: int = 0  # requests with an impossible deadline
    fallbacks: int = 0  # of those, answered by the ladder and marked so
    predictions: list[tuple[str, int]] = field(default_factory=list)  # id, row of the example
    by_model: int = 0  # rows of any kind that the model answered itself
    answered: int = 0  # ordinary rows that the model answered itself
    right: int = 0  # of those


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of one row: what went out, what came back."""

    row: int
    kind: str  # "" for an ordinary row
    answer: Answer | None
    refused: str  # error code, "" for an answer
    took_ms: float

    @property
    def is_strange(self) -> bool:
        """Whether a guard had something to say."""
        if self.answer is None:
            return self.refused == "rejected_by_guard"
        return int(self.answer.parameters["flagged_rows"]) > 0


def ask_all(
    client: Client,
    example: Example,
    strange: Mapping[str, Rows],
    *,
    progress: Callable[[], None],
) -> Tally:
    """Send every ordinary row and every strange one, each in a request of its own.

    Half of the requests are JSON and half binary; rows that JSON cannot express are binary.
    """
    model = example.bundles[0].manifest.name
    jobs = [("", row, values) for row, values in enumerate(example.test_rows)]
    jobs += [(kind, row, v) for kind, rows in strange.items() for row, v in enumerate(rows)]

    def ask(job: tuple[str, int, Rows]) -> Asked:
        kind, row, values = job
        binary = row % 2 == 0 or not bool(np.isfinite(values).all())
        began_s = time.perf_counter()
        answer, refused = None, ""
        try:
            inputs = {example.input_name: values[None, :]}
            answer = client.infer(model, inputs, binary=binary, request_id=f"{kind or 'row'}-{row}")
        except AnswerError as error:
            refused = error.code
        progress()
        return Asked(row, kind, answer, refused, (time.perf_counter() - began_s) * 1e3)

    tally = Tally()
    with ThreadPoolExecutor(THREADS) as pool:
        for asked in pool.map(ask, jobs):
            _count(tally, asked, example)
    return tally


def _count(tally: Tally, asked: Asked, example: Example) -> None:
    tally.requests += 1
    if asked.answer is None and asked.refused != "rejected_by_guard":
        tally.lost += 1
        return
    if asked.answer is not None and asked.answer.served_by == "model":
        tally.by_model += 1
    if asked.kind:
        tally.strange[asked.kind] = tally.strange.get(asked.kind, 0) + 1
        tally.detected[asked.kind] = tally.detected.get(asked.kind, 0) + asked.is_strange
        return
    tally.ordinary += 1
    tally.false_alarms += asked.is_strange
    tally.latencies_ms.append(asked.took_ms)
    if asked.answer is None:
        return
    tally.predictions.append((asked.answer.prediction_id, asked.row))
    if asked.answer.served_by == "model":
        tally.answered += 1
        [scores] = asked.answer.outputs.values()
        tally.right += int(np.argmax(scores)) == int(example.test_labels[asked.row])


def force_fallbacks(client: Client, example: Example, tally: Tally) -> None:
    """Ask with a deadline that nothing can meet; `tally` counts who answered."""
    model = example.bundles[0].manifest.name
    for row in range(FORCED):
        inputs = {example.input_name: example.test_rows[row : row + 1]}
        tally.requests += 1
        tally.forced += 1
        try:
            answer = client.infer(
                model, inputs, timeout_ms=IMPOSSIBLE_MS, request_id=f"forced-{row}"
            )
        except AnswerError:
            tally.lost += 1
            continue
        marked = answer.parameters.get("fallback_reason") == "deadline"
        tally.fallbacks += marked and answer.served_by.startswith("fallback:")


def post_labels(client: Client, example: Example, tally: Tally) -> int:
    """Tell the truth about every ordinary row that was answered; return how many."""
    model = example.bundles[0].manifest.name
    sent = 0
    for items in _chunks(tally.predictions):
        receipt = client.feedback(
            model,
            [
                {
                    "prediction_id": prediction,
                    "label": int(example.test_labels[row]),
                    "idempotency_key": f"truth-{prediction}",
                }
                for prediction, row in items
            ],
        )
        sent += int(receipt["accepted"]) + int(receipt["duplicates"])
    return sent


def _chunks(items: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    for start in range(0, len(items), LABELS_PER_POST):
        yield items[start : start + LABELS_PER_POST]
