"""What clients say about a prediction once it is known: read from a body, one value per item.

A label is what was true, a reward what a served choice turned out to be worth, and a served
confirmation what was really shown.  A text is kept as the number that stands for it, as the
answers are that it is compared with.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from gateway.config import MIB
from gateway.errors import BadRequestError, TooLargeError
from models.prediction import text_number

MAX_FEEDBACK_BYTES = 8 * MIB  # 50,000 labels written out in full
MAX_ROW = 2**31 - 1
MAX_SERVED = 1000  # choices of one ranking
EXACT = 2**53  # integers up to here are exact as float64
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

Row = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROW)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Number = bool | int | float
Label = Number | str
# An action, or the id of a candidate.
Choice = (
    Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    | Annotated[str, msgspec.Meta(max_length=256)]
)


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What turned out to be true, or worth, or shown, about one prediction.

    A list of labels or rewards has one value per row of the request.  Where ``row`` is given, a
    list of rewards has one value per slot of the ranking that this row was answered with.
    """

    prediction_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    row: Row | None = None  # None: the only row, or all rows where a list is given
    slot: Row | None = None  # place in a ranking, from 0; None: the only one, or all in a list
    label: Label | list[Label] | None = None  # a class or value; a text of a model of text
    reward: Number | list[Number] | None = None
    served: Choice | list[Choice] | None = None  # what was really shown, a ranking in its order
    override: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None  # why
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    observed_ns: Nanoseconds | None = None  # Unix; None: when it is received

    def __post_init__(self) -> None:
        """Refuse what cannot be told apart row by row."""
        if self.label is None and self.reward is None and self.served is None:
            raise ValueError("a label, a reward or what was served is needed")
        self._check_lists()
        if self.slot is not None and self.reward is None:
            raise ValueError("slot goes with a reward")
        if self.override is not None and self.served is None:
            raise ValueError("override says why something else was served: say what")
        if isinstance(self.served, list) and not 0 < len(self.served) <= MAX_SERVED:
            raise ValueError(f"served must hold 1 to {MAX_SERVED} choices")
        if len({isinstance(value, str) for value in _listed(self.label)}) > 1:
            raise ValueError("labels must all be numbers or all be texts")
        for value in (*_listed(self.label), *_listed(self.reward)):
            _check_number(value)

    def _check_lists(self) -> None:
        columns = [values for values in (self.label, self.reward) if values is not None]
        lists = [values for values in columns if isinstance(values, list)]
        if not lists:
            return
        if self.slot is not None:
            raise ValueError("slot goes with one reward, not with a list: a list has one per slot")
        if not all(lists):
            raise ValueError("a list must hold one value per row, it is empty")
        if self.row is not None:
            if isinstance(self.label, list):
                raise ValueError("row goes with one label: a list has one per row")
        elif len(lists) != len(columns) or len({len(values) for values in lists}) != 1:
            raise ValueError("label and reward must be lists of the same length, or neither a list")

    @property
    def is_text(self) -> bool | None:
        """Whether the labels are texts; None without a label."""
        labels = _listed(self.label)
        return isinstance(labels[0], str) if labels else None

    def labels(self) -> Iterator[tuple[int, float]]:
        """List each label with its row."""
        for row, value in enumerate(_listed(self.label), start=self.row or 0):
            yield row, text_number(value.encode()) if isinstance(value, str) else float(value)

    def rewards(self) -> Iterator[tuple[int, int, float]]:
        """List each reward with its row and slot."""
        for at, value in enumerate(_listed(self.reward)):
            is_per_row = self.row is None and isinstance(self.reward, list)
            row, slot = (at, 0) if is_per_row else (self.row or 0, (self.slot or 0) + at)
            yield row, slot, float(value)

    def choices(self) -> list[Choice]:
        """List what was really shown, in its order; empty where nothing is said of it."""
        if self.served is None:
            return []
        return self.served if isinstance(self.served, list) else [self.served]


def _check_number(value: Label) -> None:
    if isinstance(value, str):
        return
    if isinstance(value, int) and abs(value) > EXACT:
        raise ValueError("integers beyond 2**53 are not kept exactly")
    if not math.isfinite(value):
        raise ValueError("numbers must be finite")


def _listed(values: Label | Sequence[Label] | None) -> Sequence[Label]:
    if values is None:
        return []
    return [values] if isinstance(values, str | int | float) else values


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
        return _parse_lines(body)
    if body.lstrip()[:1] == b"[":
        return _many.decode(body)
    if bytes(_shape.decode(body).feedback):
        return _batch.decode(body).feedback
    return [_one.decode(body)]


def _parse_lines(body: bytes) -> list[Feedback]:
    """Read one object per line; blank lines are skipped, and the first bad line is named."""
    items = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(_one.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequestError(f"feedback: line {number}: {_sentence(error)}") from error
    return items


def _sentence(error: Exception) -> str:
    problem = str(error)
    if "unknown field" in problem:  # the name is the client's text: it stays out
        known = ", ".join(Feedback.__struct_fields__)
        return f"an object has a field that is not known here; known are {known}"
    return problem
