"""What judgement needs of every decision, kept in SQL, once per prediction.

Decisions may come in any order, any number of times, before and after a restart: what the
tables say depends only on which ones came.  Counts are kept as sums over cells, changed in
the same transaction as the rows they count.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, delete, select

from gateway.evaluate import tables
from gateway.evaluate.judged import Cell, Judged
from gateway.record.decision import Decision
from gateway.registry.database import reading

_CHUNK = 200  # requests in one transaction: other writers, labels among them, wait for it

_NEVER = (-(2**63), "")  # the rank of what did not come

_Try = tuple[Judged, Sequence[float]]  # a request and its predictions


class Judgements:
    """What was judged so far.  One evaluator writes; anybody reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, decisions: Iterable[Decision]) -> int:
        """Keep what is new among the decisions; return how many requests that were."""
        tries = [(Judged.of(decision), decision.predicted) for decision in decisions]
        tries.sort(key=lambda pair: pair[0].rank)
        by_model: dict[str, dict[str, _Try]] = {}
        for judged, predicted in tries:  # the last try replaces those before it
            by_model.setdefault(judged.model, {})[judged.prediction_id] = (judged, predicted)
        changed = 0
        for model, last in by_model.items():
            pending = list(last.values())
            for start in range(0, len(pending), _CHUNK):
                changed += self._record(model, pending[start : start + _CHUNK])
        return changed

    def _record(self, model: str, tries: list[_Try]) -> int:
        with reading(self._engine) as connection:  # most of what is read twice is known
            tries = _newer(connection, model, tries)
        if not tries:
            return 0
        with self._engine.begin() as connection:
            tries = _newer(connection, model, tries)
            _write(connection, model, tries)
        return len(tries)

    def unknown(self, arrivals: Iterable[tuple[str, str, int]]) -> list[str]:
        """List the predictions of which no try is known that came as late.

        Args:
            arrivals: As (model, prediction id, arrived_ns); several tries of one may be among them.
        """
        last: dict[str, dict[str, int]] = {}
        for model, prediction, arrived_ns in sorted(arrivals, key=lambda row: row[2]):
            last.setdefault(model, {})[prediction] = arrived_ns
        missing: list[str] = []
        with reading(self._engine) as connection:
            for model, latest in last.items():
                ids = list(latest)
                for start in range(0, len(ids), _CHUNK):
                    part = ids[start : start + _CHUNK]
                    known = _known(connection, model, part)
                    missing += [i for i in part if known.get(i, _NEVER)[0] < latest[i]]
        return missing

    def position(self, reader: str) -> int:
        """How far a reader has come; 0 for one that never began."""
        query = select(tables.positions.c.position).where(tables.positions.c.reader == reader)
        with reading(self._engine) as connection:
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
            return [
                (row.seq, row.prediction_id, row.arrived_ns) for row in connection.execute(query)
            ]

    def record_shadow(
        self,
        model: str,
        version: str,
        answers: Mapping[str, Sequence[float] | None],
        *,
        reader: str,
        position: int,
    ) -> None:
        """Keep what a shadow answered, and how far it has come: both or neither.

        Args:
            model: Which model.
            version: Which version answered.
            answers: By prediction id, one number per row; None where it failed.
            reader: Whose position moves.
            position: The seq of the last request among these.
        """
        run = {"model": model, "version": version}
        runs = [run | {"prediction_id": i, "failed": a is None} for i, a in answers.items()]
        rows = [
            run | {"prediction_id": i, **row} for i, a in answers.items() for row in _rows(a or ())
        ]
        with self._engine.begin() as connection:
            tables.insert_new(connection, tables.shadow_runs, runs)
            tables.insert_new(connection, tables.shadow_predictions, rows)
            _move(connection, reader, position)


def _newer(connection: Connection, model: str, tries: Sequence[_Try]) -> list[_Try]:
    """Leave out what is known already, or superseded by a later try."""
    known = _known(connection, model, [judged.prediction_id for judged, _ in tries])
    return [pair for pair in tries if pair[0].rank > known.get(pair[0].prediction_id, _NEVER)]


def _known(connection: Connection, model: str, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Give the rank of what is known, by prediction."""
    table = tables.requests.c
    query = (
        select(table.prediction_id, table.arrived_ns, table.fingerprint)
        .where(table.model == model)
        .where(table.prediction_id.in_(ids))
    )
    return {
        row.prediction_id: (row.arrived_ns, row.fingerprint) for row in connection.execute(query)
    }


def _write(connection: Connection, model: str, tries: Sequence[_Try]) -> None:
    """Put the requests of one model in place of their earlier tries, and count them."""
    seq = _last_seq(connection, model)
    replaced = _remove(connection, model, [judged.prediction_id for judged, _ in tries])
    connection.execute(
        tables.requests.insert(),
        [judged._asdict() | {"seq": seq + i} for i, (judged, _) in enumerate(tries, start=1)],
    )
    predictions = [
        {"model": model, "prediction_id": judged.prediction_id, **row}
        for judged, predicted in tries
        for row in _rows(predicted)
    ]
    if predictions:
        connection.execute(tables.predictions.insert(), predictions)
    cells: dict[Cell, list[int]] = {}
    for sign, requests in ((1, [judged for judged, _ in tries]), (-1, replaced)):
        for judged in requests:
            sums = cells.setdefault(judged.cell, [0] * len(tables.SUMS))
            for i, added in enumerate(judged.sums):
                sums[i] += sign * added
    tables.add_counts(
        connection,
        [
            cell._asdict() | dict(zip(tables.SUMS, sums, strict=True))
            for cell, sums in cells.items()
        ],
    )


def _last_seq(connection: Connection, model: str) -> int:
    seq = tables.requests.c.seq
    query = select(seq).where(tables.requests.c.model == model).order_by(seq.desc()).limit(1)
    return connection.scalar(query) or 0


def _remove(connection: Connection, model: str, ids: Sequence[str]) -> list[Judged]:
    """Take out earlier tries, and return them."""
    columns = [tables.requests.c[name] for name in Judged._fields]
    of_these = (tables.requests.c.model == model) & tables.requests.c.prediction_id.in_(ids)
    found = [Judged(*row) for row in connection.execute(select(*columns).where(of_these))]
    if found:
        for table in (tables.predictions, tables.requests):
            gone = [judged.prediction_id for judged in found]
            connection.execute(
                delete(table).where(table.c.model == model, table.c.prediction_id.in_(gone))
            )
    return found


def _rows(predicted: Sequence[float]) -> list[dict[str, Any]]:
    """Number the predictions; NaN becomes NULL, which equals nothing in every dialect."""
    return [
        {"row": row, "predicted": None if math.isnan(value) else value}
        for row, value in enumerate(predicted)
    ]


def _move(connection: Connection, reader: str, position: int) -> None:
    moved = connection.execute(
        tables.positions.update()
        .where(tables.positions.c.reader == reader)
        .values(position=position)
    )
    if moved.rowcount == 0:
        row = {"reader": reader, "position": position}
        tables.insert_new(connection, tables.positions, [row])
