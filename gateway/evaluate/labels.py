"""Labels and rewards: read from a body, and kept for good before anybody is told so.

The table is append-only.  Of several labels for one row the one observed last counts, so
neither the order of arrival nor a repetition changes what is reported.  A text is kept as the
number that stands for it, as the answers are that it is compared with.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Annotated, Any

import msgspec
from sqlalchemy import Engine

from gateway.config import MIB
from gateway.errors import BadRequestError, TooLargeError
from gateway.evaluate import tables
from gateway.registry.database import open_database
from models.prediction import text_number

MAX_FEEDBACK_BYTES = 8 * MIB  # 50,000 labels written out in full
MAX_FEEDBACK_ROWS = 50_000  # of one call: one transaction, which keeps other writers waiting
MAX_ROW = 2**31 - 1
EXACT = 2**53  # integers up to here are exact as float64
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

Row = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROW)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Number = bool | int | float
Label = Number | str


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What turned out to be true, or worth, about one prediction."""

    prediction_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    row: Row | None = None  # None: the only row, or all rows where a list is given
    label: Label | list[Label] | None = None  # a class or value; a text of a model of text
    reward: Number | list[Number] | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    observed_ns: Nanoseconds | None = None  # Unix; None: when it is received

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart row by row."""
        if self.label is None and self.reward is None:
            raise ValueError("a label or a reward is needed")
        columns = [values for values in (self.label, self.reward) if values is not None]
        lists = [values for values in columns if isinstance(values, list)]
        if lists and self.row is not None:
            raise ValueError("row goes with one value, not with a list: a list has one per row")
        if lists and (len(lists) != len(columns) or len({len(values) for values in lists}) != 1):
            raise ValueError("label and reward must be lists of the same length, or neither a list")
        if lists and not lists[0]:
            raise ValueError("a list must hold one value per row, it is empty")
        if len({isinstance(value, str) for value in _listed(self.label)}) > 1:
            raise ValueError("labels must all be numbers or all be texts")
        for value in (value for column in columns for value in _listed(column)):
            if isinstance(value, str):
                continue
            if isinstance(value, int) and abs(value) > EXACT:
                raise ValueError("integers beyond 2**53 are not kept exactly")
            if not math.isfinite(value):
                raise ValueError("numbers must be finite")

    @property
    def is_text(self) -> bool | None:
        """Whether the labels are texts; None without a label."""
        labels = _listed(self.label)
        return isinstance(labels[0], str) if labels else None

    def rows(self) -> list[tuple[int, float | None, float | None]]:
        """List row, label and reward, one entry per row."""
        count = max(len(_listed(self.label)), len(_listed(self.reward)))
        absent = [None] * count
        labels = [_number(value) for value in _listed(self.label)] or absent
        rewards = [_number(value) for value in _listed(self.reward)] or absent
        return list(
            zip(range(self.row or 0, (self.row or 0) + count), labels, rewards, strict=True)
        )


class Receipt(msgspec.Struct, frozen=True):
    """What became of the rows of one call; all of them are on disk."""

    accepted: int
    duplicates: int  # rows that had come before, under the same idempotency key


class LabelStore:
    """Labels of every model, in SQL.  Goes to other processes by its address alone.

    It connects when first used; any number of threads and processes may add at once.
    """

    def __init__(self, database_url: str, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._url = database_url
        self._clock_ns = clock_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return (LabelStore, (self._url,))

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._url)

    def add(self, model: str, items: Sequence[Feedback], *, source: str = "api") -> Receipt:
        """Keep labels and rewards; they are on disk when this returns.

        A label may come before the prediction it is for is known here.

        Raises:
            BadRequestError: there are too many rows for one call.
        """
        now_ns = self._clock_ns()
        rows = [row for item in items for row in _records(item, now_ns=now_ns)]
        if len(rows) > MAX_FEEDBACK_ROWS:
            raise BadRequestError(
                f"feedback: {len(rows)} rows came in one call, {MAX_FEEDBACK_ROWS} are the most"
            )
        common = {"model": model, "received_ns": now_ns, "source": source}
        with self._engine.begin() as connection:
            accepted = tables.insert_new(connection, tables.labels, [row | common for row in rows])
        return Receipt(accepted, len(rows) - accepted)


def _records(item: Feedback, *, now_ns: int) -> list[dict[str, Any]]:
    # Nothing is observed after it was received: a wrong clock must not make a label immortal.
    observed_ns = now_ns if item.observed_ns is None else min(item.observed_ns, now_ns)
    return [
        {
            "prediction_id": item.prediction_id,
            "row": row,
            "label": label,
            "reward": reward,
            "idempotency_key": item.idempotency_key,
            "observed_ns": observed_ns,
        }
        for row, label, reward in item.rows()
    ]


def _listed(values: Label | Sequence[Label] | None) -> Sequence[Label]:
    if values is None:
        return []
    return [values] if isinstance(values, str | int | float) else values


def _number(value: Label) -> float:
    return text_number(value.encode()) if isinstance(value, str) else float(value)


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    feedback: list[Feedback]


class _Shape(msgspec.Struct, frozen=True):
    """Tells an object that wraps a list from one that is feedback itself."""

    feedback: msgspec.Raw = msgspec.Raw()


_one = msgspec.json.Decoder(Feedback)
_many = msgspec.json.Decoder(list[Feedback])
_batch = msgspec.json.Decoder(_Batch)
_shape = msgspec.json.Decoder(_Shape)


def parse_feedback(body: bytes, content_type: str) -> list[Feedback]:
    """Read one object, a list, ``{"feedback": [...]}``, or one object per line (NDJSON).

    Raises:
        TooLargeError: the body is beyond `MAX_FEEDBACK_BYTES`.
        BadRequestError: it is none of these; the sentence says where.
    """
    if len(body) > MAX_FEEDBACK_BYTES:
        raise TooLargeError(MAX_FEEDBACK_BYTES)
    try:
        items = _parse(body, content_type.partition(";")[0].strip().lower())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"feedback: {_sentence(error)}") from error
    if not items:
        raise BadRequestError("feedback: the list is empty")
    return items


def check_labels(items: Sequence[Feedback], *, are_texts: bool) -> None:
    """Refuse labels of another kind than the model's answers: they would agree with none.

    Raises:
        BadRequestError: one label is a number where answers are texts, or the other way round.
    """
    if any(item.is_text not in (None, are_texts) for item in items):
        if are_texts:
            raise BadRequestError("feedback: the model answers texts, a label must be one")
        raise BadRequestError("feedback: labels must be numbers; a class is sent as its index")


def _parse(body: bytes, media_type: str) -> list[Feedback]:
    if media_type in NDJSON:
        return _one.decode_lines(body)
    if body.lstrip()[:1] == b"[":
        return _many.decode(body)
    if bytes(_shape.decode(body).feedback):
        return _batch.decode(body).feedback
    return [_one.decode(body)]


def _sentence(error: Exception) -> str:
    problem = str(error)
    if "unknown field" in problem:  # the name is the client's text: it stays out
        known = ", ".join(Feedback.__struct_fields__)
        return f"an object has a field that is not known here; known are {known}"
    return problem
