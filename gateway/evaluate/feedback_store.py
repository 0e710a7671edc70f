"""Where feedback is kept for good before anybody is told so.

The tables are append-only.  Of several values for one thing the one observed last counts, so
neither the order of arrival nor a repetition changes what is reported.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import orjson
from sqlalchemy import Connection, Engine, Table, select

from gateway.errors import BadRequestError, ConflictError
from gateway.evaluate import tables
from gateway.evaluate.feedback import Feedback
from gateway.registry.database import open_database

MAX_FEEDBACK_ROWS = 50_000  # of one call: one transaction, which keeps other writers waiting
_CHUNK = 500  # values of one IN clause

_Kept = list[tuple[int, dict[str, Any]]]  # the item that a value came in, and its row in the table


class Receipt(msgspec.Struct, frozen=True):
    """What became of the values of one call; all of them are on disk."""

    accepted: int
    duplicates: int  # values that had come before, under the same idempotency key


class FeedbackStore:
    """Feedback of every model, in SQL.  Goes to other processes by its address alone.

    It connects when first used; any number of threads and processes may add at once.
    """

    def __init__(self, database_url: str, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._url = database_url
        self._clock_ns = clock_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return (FeedbackStore, (self._url,))

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._url)

    def add(self, model: str, items: Sequence[Feedback], *, source: str = "api") -> Receipt:
        """Keep labels, rewards and confirmations; they are on disk when this returns.

        They may come before the prediction they are about is known here.

        Raises:
            BadRequestError: there are too many values for one call; none is kept.
            ConflictError: under an idempotency key that came before, one says something else than
                it did then; none is kept, and the contradiction is counted.
        """
        now_ns = self._clock_ns()
        common = {"model": model, "received_ns": now_ns, "source": source}
        kept = {table: list(_rows(table, items, common, now_ns)) for table in tables.FEEDBACK}
        total = sum(map(len, kept.values()))
        if total > MAX_FEEDBACK_ROWS:
            raise BadRequestError(
                f"feedback: {total} values came in one call, {MAX_FEEDBACK_ROWS} are the most"
            )
        try:
            with self._engine.begin() as connection:
                accepted = sum(_insert(connection, table, rows) for table, rows in kept.items())
                if accepted < total:
                    tables.add_duplicates(connection, model, total - accepted)
        except _ContradictionError as found:
            with self._engine.begin() as connection:
                connection.execute(tables.contradictions.insert(), found.as_row(model, now_ns))
            raise ConflictError(
                f"feedback: item {found.item} says something else than before under the same "
                "idempotency key; nothing of this call is kept"
            ) from None
        return Receipt(accepted, total - accepted)


class _ContradictionError(Exception):
    """Ends the transaction, so that nothing of the call is kept."""

    def __init__(self, item: int, row: Mapping[str, Any]) -> None:
        super().__init__(item, row)
        self.item = item
        self._row = row

    def as_row(self, model: str, now_ns: int) -> dict[str, Any]:
        return {
            "model": model,
            "prediction_id": self._row["prediction_id"],
            "row": self._row["row"],
            "received_ns": now_ns,
        }


def _rows(
    table: Table, items: Sequence[Feedback], common: Mapping[str, Any], now_ns: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Take what belongs into ``table`` out of the items, each with its item's number."""
    for number, item in enumerate(items):
        # Nothing is observed after it was received: a wrong clock must not make it immortal.
        observed_ns = now_ns if item.observed_ns is None else min(item.observed_ns, now_ns)
        about = {
            "prediction_id": item.prediction_id,
            "idempotency_key": item.idempotency_key,
            "observed_ns": observed_ns,
            **common,
        }
        for values in _values(table, item):
            yield number, about | values


def _values(table: Table, item: Feedback) -> Iterator[dict[str, Any]]:
    if table is tables.labels:
        yield from ({"row": row, "label": label} for row, label in item.labels())
    elif table is tables.rewards:
        for row, slot, reward in item.rewards():
            yield {"row": row, "slot": slot, "reward": reward}
    elif item.served is not None:
        served = orjson.dumps(item.choices()).decode()
        yield {"row": item.row or 0, "served": served, "override": item.override}


def _insert(connection: Connection, table: Table, kept: _Kept) -> int:
    """Insert what is new; return how much that was."""
    inserted = tables.insert_new(connection, table, [row for _, row in kept])
    if inserted < len(kept):
        _check_repeated(connection, table, kept)
    return inserted


def _check_repeated(connection: Connection, table: Table, kept: _Kept) -> None:
    """Compare what came under a known key with what is there: a repetition says the same."""
    identity, values = tables.identity_of(table), tables.values_of(table)
    repeatable = [(item, row) for item, row in kept if row["idempotency_key"] is not None]
    for start in range(0, len(repeatable), _CHUNK):
        chunk = repeatable[start : start + _CHUNK]
        query = select(*(table.c[name] for name in (*identity, *values))).where(
            table.c.model == chunk[0][1]["model"],
            table.c.prediction_id.in_({row["prediction_id"] for _, row in chunk}),
            table.c.idempotency_key.in_({row["idempotency_key"] for _, row in chunk}),
        )
        there = {
            found[: len(identity)]: found[len(identity) :] for found in connection.execute(query)
        }
        for item, row in chunk:
            key = tuple(row[name] for name in identity)
            if there[key] != tuple(row[name] for name in values):
                raise _ContradictionError(item, row)
