"""What judgement needs of every decision, kept in SQL, once per prediction.

Decisions may come in any order, any number of times, before and after a restart: the
tables depend only on which ones came.  Counts that grow with traffic are kept as sums over
few cells, changed in the same transaction as the rows they count.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from hashlib import blake2b
from itertools import islice
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, delete, exists, select

from gateway.evaluate import tables
from gateway.record.decision import Decision
from gateway.registry.database import reading

BIN_RATIO = 1.01  # of the ends of a duration bin: what is read from bins is right to 1 %
_CHUNK = 400  # ids in one statement and requests in one transaction, which others wait for
_LOG_RATIO = math.log(BIN_RATIO)


def duration_bin(duration_ns: int) -> int:
    """Number the bin of a duration; bin ``b`` is about ``BIN_RATIO**b`` us."""
    return math.floor(math.log(max(duration_ns, 1000) / 1000) / _LOG_RATIO)


def bin_start_ns(number: int) -> float:
    """Give the shortest duration of a bin."""
    return 1000 * math.exp(number * _LOG_RATIO)


@dataclass(frozen=True, slots=True)
class Request:
    """One row of `tables.requests`, with the predictions that go with it."""

    model: str
    prediction_id: str
    version: str
    revision: int
    served_by: str
    fallback_reason: str
    status: int
    rows: int
    flagged: int
    rejected: int
    explored: int
    captured: bool
    arrived_ns: int
    finished_ns: int
    fingerprint: str

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Take what is judged out of a decision."""
        drawn = decision.exploration
        explored = (
            0
            if drawn is None
            else sum(a != b for a, b in zip(drawn.greedy, drawn.served, strict=True))
        )
        judged = (
            decision.model,
            decision.prediction_id,
            decision.version,
            decision.revision,
            decision.served_by,
            decision.fallback_reason,
            decision.status,
            decision.rows,
            decision.flagged,
            decision.rejected,
            explored,
            decision.payload is not None,
            decision.arrived_ns,
            decision.stages.finished_ns,
        )
        seen = repr((judged, decision.predicted)).encode()
        return cls(*judged, fingerprint=blake2b(seen, digest_size=8).hexdigest())

    @property
    def rank(self) -> tuple[int, str]:
        """Order the tries of one request: the last one is what the client saw."""
        return self.arrived_ns, self.fingerprint


class Judgements:
    """What was judged so far.  One evaluator writes; anybody reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, decisions: Iterable[Decision]) -> int:
        """Keep what is new among the decisions; return how many requests that were."""
        tries = sorted(
            ((Request.of(decision), decision.predicted) for decision in decisions),
            key=lambda pair: pair[0].rank,
        )
        last = iter({(request.model, request.prediction_id): (request, p) for request, p in tries})
        by_key = {(request.model, request.prediction_id): (request, p) for request, p in tries}
        changed = 0
        while chunk := [by_key[key] for key in islice(last, _CHUNK)]:
            with reading(self._engine) as connection:  # most of what is read twice is known
                chunk = _newer(connection, chunk)
            if chunk:
                with self._engine.begin() as connection:
                    changed += _write(connection, _newer(connection, chunk))
        return changed

    def position(self, reader: str) -> int:
        """How far a reader has come; 0 for one that never began."""
        with reading(self._engine) as connection:
            query = select(tables.positions.c.position).where(tables.positions.c.reader == reader)
            return connection.scalar(query) or 0

    def move(self, reader: str, position: int) -> None:
        """Note how far a reader has come."""
        with self._engine.begin() as connection:
            _move(connection, reader, position)

    def captured_after(
        self, seq: int, model: str, *, since_ns: int, limit: int
    ) -> list[tuple[int, str, int]]:
        """List requests whose payload was kept, as (seq, prediction id, arrived_ns), by seq.

        Args:
            seq: Of the last one seen.
            model: Of this model.
            since_ns: That arrived at or after this.
            limit: How many at most.
        """
        table = tables.requests.c
        query = (
            select(table.seq, table.prediction_id, table.arrived_ns)
            .where(table.model == model, table.seq > seq)
            .where(table.captured, table.arrived_ns >= since_ns)
            .order_by(table.seq)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [tuple(row) for row in connection.execute(query)]

    def record_shadow(
        self,
        model: str,
        version: str,
        answers: Mapping[str, Sequence[float] | None],
        *,
        reader: str,
        position: int,
    ) -> None:
        """Keep what a shadow answered, by prediction id, and how far it has come: both or neither.

        Args:
            model: Which model.
            version: Which version answered.
            answers: One number per row; None where it failed.
            reader: Whose position moves.
            position: The seq of the last request among these.
        """
        common = {"model": model, "version": version}
        runs = [common | {"prediction_id": i, "failed": a is None} for i, a in answers.items()]
        rows = [
            common | {"prediction_id": i, **row} for i, a in answers.items() for row in _rows(a or ())
        ]
        with self._engine.begin() as connection:
            tables.insert_new(connection, tables.shadow_runs, runs)
            tables.insert_new(connection, tables.shadow_predictions, rows)
            _move(connection, reader, position)


_Try = tuple[Request, Sequence[float]]


def _newer(connection: Connection, tries: Sequence[_Try]) -> list[_Try]:
    """Leave out what is known already, or was superseded by a later try."""
    table = tables.requests.c
    known: dict[tuple[str, str], tuple[int, str]] = {}
    for model in {request.model for request, _ in tries}:
        ids = [request.prediction_id for request, _ in tries if request.model == model]
        query = select(table.prediction_id, table.arrived_ns, table.fingerprint)
        query = query.where(table.model == model, table.prediction_id.in_(ids))
        for found in connection.execute(query):
            known[model, found.prediction_id] = (found.arrived_ns, found.fingerprint)
    nothing = (-1, "")
    return [
        (request, predicted)
        for request, predicted in tries
        if request.rank > known.get((request.model, request.prediction_id), nothing)
    ]


def _write(connection: Connection, tries: Sequence[_Try]) -> int:
    cells: dict[tuple[Any, ...], Counter[str]] = {}
    by_model: dict[str, list[_Try]] = {}
    for request, predicted in tries:
        by_model.setdefault(request.model, []).append((request, predicted))
    for model, own in by_model.items():
        for replaced in _take_out(connection, model, [request.prediction_id for request, _ in own]):
            _count(cells, replaced, sign=-1)
        query = select(tables.requests.c.seq).where(tables.requests.c.model == model)
        last = connection.scalar(query.order_by(tables.requests.c.seq.desc()).limit(1)) or 0
        rows = [asdict(r) | {"seq": seq} for seq, (r, _) in enumerate(own, start=last + 1)]
        connection.execute(tables.requests.insert(), rows)
    kept = [
        {"model": request.model, "prediction_id": request.prediction_id, **row}
        for request, predicted in tries
        for row in _rows(predicted)
    ]
    if kept:
        connection.execute(tables.predictions.insert(), kept)
    for request, predicted in tries:
        _count(cells, request, sign=1)
    return len(tries)
